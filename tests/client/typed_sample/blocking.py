"""A project that calls a server with `Client`, with types for everything."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from convscope.client import (
    Classification,
    ClassLike,
    ClassScore,
    Client,
    ConvscopeError,
    Execution,
    Explain,
    ExplainLike,
    Explanation,
    ExplanationInfo,
    FeatureMap,
    FeatureMapInfo,
    FeatureMapSelection,
    ImageCrop,
    ImageLike,
    InputInfo,
    Metric,
    ModelInfo,
    ModelSummary,
    Priority,
    Provenance,
    ProviderCandidate,
    Rank,
    Resize,
    Results,
    ResultStream,
    StageSeconds,
    Tensor,
    from_float,
)


def classify(client: Client, images: list[ImageLike], priority: Priority) -> str:
    target: ClassLike = Rank(2)
    explain: ExplainLike = [Explain("cup", against=target, method="grad-cam"), 3, "dog"]
    result: Classification = client.classify(
        images[0],
        model="m",
        alias="champion",
        top_k=3,
        feature_maps=["conv", FeatureMapSelection("stem", strongest=4, dtype="uint8")],
        explain=explain,
        priority=priority,
        timeout_seconds=1.5,
        metadata={"x-request-id": "a"},
    )
    top: ClassScore = result.top
    seconds: StageSeconds = result.stage_seconds
    return f"{top.label} {top.probability:.1%} {seconds.infer + result.call_seconds:.3f}"


def show(result: Classification, photo: Path) -> list[Image.Image]:
    conv: FeatureMap = result.feature_maps["conv"]
    heat: Explanation = result.explanations[0]
    array: npt.NDArray[np.float32] = conv.array[conv.strongest(2)]
    crop: ImageCrop | None = result.crop
    if crop is not None:
        left, top, right, bottom = crop.at(300, 200).box(300, 200)
        array = array[:, top:bottom, left:right]
    share: float | None = heat.share
    limit: float = heat.limit if share is None else share
    return [
        conv.to_image(photo, image_name=photo.name, stride=2.0),
        heat.overlay(photo, opacity=0.5, limit=limit, outside="plain"),
        heat.to_image(Image.open(photo), image_name=f"{heat.label} {heat.index}"),
    ]


def save(result: Classification) -> dict[str, object]:
    row: dict[str, str | int | float | None] = result.to_row()
    whole: dict[str, object] = result.to_dict(arrays=True)
    for feature_map in result.feature_maps.values():
        whole |= feature_map.to_dict()
    for explanation in result.explanations:
        whole |= explanation.to_dict()
    return {**whole, **row}


def classify_many(client: Client, photos: list[Path]) -> float:
    results: Iterator[Classification] = client.classify_many(photos, model="m", window=4)
    best = max(result.top.probability for result in results)
    for outcome in client.classify_many(photos, model="m", return_errors=True, progress=True):
        if isinstance(outcome, ConvscopeError):
            print(
                outcome.image,
                outcome.index,
                outcome.grpc_error,
                outcome.message,
                outcome.request_id,
                outcome.to_row(),
            )
        else:
            best = max(best, outcome.top.probability)
    return best


def tables(client: Client, photos: list[Path]) -> int:
    certain: Results[Classification] = Results(client.classify_many(photos, model="m"))
    label: str = certain[0].top.label
    stream: ResultStream[Classification] = client.classify_many(photos, model="m")
    collected: Results[Classification] = stream.collect()
    print(collected, stream.to_pandas(), stream.to_rows(), certain[0].feature_maps["conv1"])
    first: Results[Classification] = certain[:10]
    mixed = Results(client.classify_many(photos, model="m", return_errors=True))
    errors: list[ConvscopeError] = mixed.errors
    print(label, first, errors, mixed.to_dicts(), mixed.to_rows())
    rows: int = mixed.to_arrow().num_rows  # pyarrow has no types
    return len(mixed.to_pandas()) + rows


def models(client: Client) -> tuple[str, ...]:
    summaries: list[ModelSummary] = client.models()
    info: ModelInfo = client.model(summaries[0].model, version=summaries[0].version)
    image: InputInfo = info.input
    resize: Resize | None = info.resize
    execution: Execution | None = info.execution
    origin: Provenance = info.provenance
    metrics: tuple[Metric, ...] = origin.metrics
    maps: tuple[FeatureMapInfo, ...] = info.feature_maps
    candidates: tuple[ProviderCandidate, ...] = info.candidates
    offered: ExplanationInfo | None = info.explanations
    print(image.shape, resize, execution, metrics, [one.stride for one in maps], offered)
    print([one.compute_precision for one in candidates])
    return info.labels


def main() -> None:
    with Client("localhost:8001", timeout_seconds=5, token=lambda: "t", oversize="error") as client:
        pixels = np.zeros((4, 4, 3), np.uint8)
        images: list[ImageLike] = ["a.png", Path("b.png"), b"", pixels, Tensor(pixels)]
        floats: npt.NDArray[np.float32] = np.zeros((4, 4, 3), np.float32)
        images.append(from_float(floats))
        print(classify(client, images, "bulk"), models(client), client.channel)
        photos = [Path("a.png")]
        print(classify_many(client, photos), tables(client, photos))
        result = client.classify("a.png", model="m")
        print(save(result), show(result, photos[0]))
    client.close()
    with Client.local("models", model="m", settings={"provider": "cpu"}) as local:
        print(local.classify("a.png").top.label)
