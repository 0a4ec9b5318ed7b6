"""Explanations over real gRPC: heat, contrast, the crop, and every rejection."""

from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from PIL import Image, ImageOps
from support.calls import connected, image_request, rejection, sample, signal_request
from support.explained import write_explained
from support.explained_signal import write_explained_signal
from support.images import EXIF_ORIENTATIONS, encode, picture, with_orientation
from support.server import ServerProcess
from support.tiny import (
    CHANNELS,
    LABELS,
    SIDE,
    SIGNAL_LENGTH,
    reference_preprocess,
    tiny_graph,
    write_extractor,
    write_signal,
    write_tiny,
)
from support.unsupported_heat import write_unsupported_heat

from convscope.server.frontend.classifier.explanation_plans import (
    PlannedExplanation,
    PlannedExplanations,
)
from convscope.server.frontend.classifier.explanation_replies import write_explanations
from convscope.server.inference.explanations import ExplanationPlan
from convscope.server.inference.requests import InferenceResult
from convscope.server.observability.stages import StageSeconds
from convscope.server.runtime.explained import Heat
from convscope.server.runtime.model import ModelOutput
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc
from convscope.v1 import manifest_pb2 as mpb

Stub = inference_pb2_grpc.ClassifierServiceStub
Floats = NDArray[np.float32]
INVALID = grpc.StatusCode.INVALID_ARGUMENT
METHODS = (GRAD_CAM, CAM, EIGEN_CAM, OCCLUSION) = (
    pb.EXPLANATION_METHOD_GRAD_CAM,
    pb.EXPLANATION_METHOD_CAM,
    pb.EXPLANATION_METHOD_EIGEN_CAM,
    pb.EXPLANATION_METHOD_OCCLUSION,
)
PHOTO = encode(picture())
RED = pb.ClassTarget(label="red")
GREEN = pb.ClassTarget(class_index=1)
Selection = pb.ExplanationSelection


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serve "tiny" with explanations, "deep" whose head isn't linear, and models without."""
    root: Path = tmp_path_factory.mktemp("explained")
    write_explained(root)

    def alter(manifest: mpb.ModelManifest) -> None:
        manifest.explanation.linear = False
        manifest.labels[2] = "red"

    write_explained(root, "deep", alter_manifest=alter)
    write_tiny(root, "bare")
    write_signal(root)
    write_explained_signal(root, "pulse")
    write_extractor(root, "edges")
    write_unsupported_heat(root, "odd")
    with ServerProcess(root) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server: ServerProcess) -> Iterator[Stub]:
    with connected(server) as stub:
        yield stub


def explain(stub: Stub, *selections: Selection, image: bytes = PHOTO) -> list[pb.Explanation]:
    reply = stub.Classify(image_request(image, explanations=selections), timeout=30)
    return list(reply.results[0].prediction.explanations)


def array(message: pb.Explanation) -> Floats:
    dtype = {1: np.uint8, 2: np.float16, 3: np.float32}[message.heat.dtype]
    stored = np.frombuffer(message.heat.data, dtype).reshape(tuple(message.heat.shape))
    return (message.offset + message.scale * stored.astype(np.float32)).astype(np.float32)


def outputs(pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return the logits and the tensor of images, by code that shares nothing with the server."""
    logits, conv = ReferenceEvaluator(tiny_graph()).run(["logits", "conv"], {"images": pixels})
    return np.asarray(logits, np.float32), np.asarray(conv, np.float32)


def reference(photo: bytes, index: int) -> tuple[Floats, float]:
    """Return the heat of a class, and its logit: its weight is 3 for the channel of its color."""
    logits, conv = outputs(reference_preprocess(photo)[np.newaxis])
    return 3 * conv[0, index] / SIDE**2, float(logits[0, index])


# Heat


@pytest.mark.parametrize("method", [pb.EXPLANATION_METHOD_UNSPECIFIED, GRAD_CAM, CAM])
def test_heat_adds_up_to_the_logit(stub: Stub, method: pb.ExplanationMethod.ValueType) -> None:
    (found,) = explain(stub, Selection(target=GREEN, method=method))
    heat, logit = reference(PHOTO, 1)
    np.testing.assert_allclose(array(found), heat, rtol=1e-3, atol=1e-5)
    assert (found.target.index, found.target.label) == (1, "green")
    assert found.logit == pytest.approx(logit, rel=1e-3)
    assert array(found).sum() + found.remainder == pytest.approx(found.logit, rel=1e-4)
    assert (found.tensor, found.method) == ("conv", method or GRAD_CAM)
    assert not found.HasField("against")


def test_class_is_selected_by_index_label_or_rank(stub: Stub) -> None:
    reply = stub.Classify(image_request(PHOTO), timeout=30)
    ranked = reply.results[0].prediction.classes
    ranks = [Selection(target=pb.ClassTarget(rank=rank)) for rank in (1, 2, 3)]
    labels = [Selection(target=pb.ClassTarget(label=c.label)) for c in ranked]
    indices = [Selection(target=pb.ClassTarget(class_index=c.index)) for c in ranked]
    best, *by_rank = explain(stub, Selection(), *ranks)
    for found in (by_rank, explain(stub, *labels), explain(stub, *indices)):
        assert [one.target for one in found] == list(ranked)
        assert found[0] == best
        assert found == by_rank


def test_ranks_are_those_of_each_input(stub: Stub) -> None:
    colors = [encode(Image.new("RGB", (40, 30), color)) for color in ("red", "lime", "blue")]
    request = image_request(*colors, explanations=[Selection()], top_k=1)
    results = stub.Classify(request, timeout=30).results
    assert [r.prediction.explanations[0].target.label for r in results] == list(LABELS)
    assert [len(r.prediction.classes) for r in results] == [1, 1, 1]


def test_contrast_is_a_difference(stub: Stub) -> None:
    red, green, contrast = explain(
        stub,
        Selection(target=RED),
        Selection(target=GREEN),
        Selection(target=RED, against=GREEN),
    )
    np.testing.assert_allclose(array(contrast), array(red) - array(green), atol=1e-6)
    assert contrast.logit == pytest.approx(red.logit - green.logit, abs=1e-5)
    assert contrast.remainder == pytest.approx(red.remainder - green.remainder, abs=1e-5)
    assert (contrast.target, contrast.against) == (red.target, green.target)


@pytest.mark.parametrize("method", [GRAD_CAM, OCCLUSION])
def test_class_contrasted_with_itself_has_zero_heat(
    stub: Stub, method: pb.ExplanationMethod.ValueType
) -> None:
    """A rank and an index may turn out to be the same class, which differs between inputs."""
    (best,) = explain(stub, Selection(method=method))
    same = pb.ClassTarget(class_index=best.target.index)
    (found,) = explain(stub, Selection(against=same, method=method))
    assert not array(found).any()
    assert (found.logit, found.remainder) == (0, 0)
    assert found.target == found.against == best.target


def test_rounding_between_columns_is_no_heat() -> None:
    """The index and the rank of one class are in two columns, which may be rounded differently."""
    values = np.ones((1, 2, 2, 2), np.float32)
    values[0, 1, 0, 0] += 1e-6
    heat = Heat(values, np.array([[1, 1]]), None)
    scores = np.array([[0.2, 0.7, 0.1]], np.float32)
    result = InferenceResult(
        [1], [0.7], None, ModelOutput(scores, {}, scores, heat), 0, StageSeconds()
    )
    one = PlannedExplanation(GRAD_CAM, 1, -1, mpb.DATA_TYPE_FLOAT32, None)
    plan = PlannedExplanations([one], ExplanationPlan(), {1: 0, -1: 1}, LABELS, "conv", 0, False)
    prediction = pb.Prediction()
    write_explanations(prediction, result, plan, 0)
    (found,) = prediction.explanations
    assert not array(found).any()
    assert found.remainder == 0


@pytest.mark.parametrize("dtype", [mpb.DATA_TYPE_UINT8, mpb.DATA_TYPE_FLOAT16])
def test_smaller_elements_are_close(stub: Stub, dtype: mpb.DataType.ValueType) -> None:
    exact, found = explain(
        stub,
        Selection(against=RED, target=GREEN),
        Selection(against=RED, target=GREEN, dtype=dtype),
    )
    assert found.heat.dtype == dtype
    assert len(found.heat.data) == SIDE**2 * (1 if dtype == mpb.DATA_TYPE_UINT8 else 2)
    step = found.scale if dtype == mpb.DATA_TYPE_UINT8 else 1e-3 * np.abs(array(exact)).max()
    np.testing.assert_allclose(array(found), array(exact), atol=step)
    assert found.remainder == exact.remainder


def test_eigen_cam_is_the_first_principal_component(stub: Stub) -> None:
    (found,) = explain(stub, Selection(method=EIGEN_CAM))
    tensor = outputs(reference_preprocess(PHOTO)[np.newaxis])[1][0].reshape(CHANNELS, -1).T
    centered = tensor - tensor.mean(axis=0)
    strong, directions = np.linalg.svd(centered, full_matrices=False)[1:]
    expected = (centered @ directions[0]).reshape(SIDE, SIDE)
    heat = array(found)
    assert strong[0] > 1.2 * strong[1]
    np.testing.assert_allclose(np.abs(heat), np.abs(expected), rtol=0.01, atol=0.01 * strong[0])
    assert np.corrcoef(heat.ravel(), centered.mean(axis=1))[0, 1] > 0
    assert not found.HasField("remainder")


def test_occlusion_is_the_fall_of_the_logit(stub: Stub) -> None:
    grid = pb.OcclusionGrid(cells=4, window=2)
    selection = Selection(target=RED, method=OCCLUSION, occlusion=grid)
    found, contrast, default = explain(
        stub,
        selection,
        Selection(target=RED, against=GREEN, method=OCCLUSION, occlusion=grid),
        Selection(target=RED, method=OCCLUSION),
    )
    image = reference_preprocess(PHOTO)
    images = [image]
    for row in range(4):
        for column in range(4):
            top, left = 4 * row + 2 - 4, 4 * column + 2 - 4
            images.append(image.copy())
            images[-1][max(top, 0) : top + 8, max(left, 0) : left + 8] = 128  # it has no mean
    logits, _ = outputs(np.stack(images))
    falls = (logits[0] - logits[1:]).reshape(4, 4, 3)
    np.testing.assert_allclose(array(found), falls[..., 0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(array(contrast), falls[..., 0] - falls[..., 1], atol=1e-3)
    assert list(default.heat.shape) == [7, 7]
    assert (found.tensor, found.HasField("remainder")) == ("", False)
    assert found.logit == pytest.approx(float(logits[0, 0]), rel=1e-3)


def test_model_without_heat_is_explained_by_occlusion(stub: Stub) -> None:
    selections = [Selection(method=OCCLUSION)]
    images = [PHOTO, b"not an image", encode(Image.new("RGB", (30, 40), "blue"))]
    request = image_request(*images, model="bare", explanations=selections)
    first, broken, blue = stub.Classify(request, timeout=30).results
    assert "not an image" in broken.error.message
    for result in (first, blue):
        (found,) = result.prediction.explanations
        assert found.target == result.prediction.classes[0]
        assert list(found.heat.shape) == [7, 7]
    assert array(blue.prediction.explanations[0]).min() > 0  # blue is everywhere


def test_occlusion_is_bulk_work_and_counts_each_input_once(
    server: ServerProcess, stub: Stub
) -> None:
    count = partial(sample, server, model="bare")
    before = count("convscope_predicted_classes_total")
    bulk = count("convscope_request_seconds_count", priority="bulk")
    stub.Classify(
        image_request(model="bare", explanations=[Selection(method=OCCLUSION)]), timeout=30
    )
    assert count("convscope_predicted_classes_total") == before + 1
    assert count("convscope_request_seconds_count", priority="bulk") == bulk + 1


# The crop


@pytest.mark.parametrize("orientation", EXIF_ORIENTATIONS)
def test_crop_is_the_part_of_the_upright_photo_that_the_network_saw(
    stub: Stub, orientation: int
) -> None:
    photo = with_orientation(picture(90, 60), orientation, "PNG")
    request = image_request(photo, explanations=[Selection()])
    crop = stub.Classify(request, timeout=30).results[0].prediction.crop
    upright = ImageOps.exif_transpose(Image.open(BytesIO(photo)))
    assert (crop.image_width, crop.image_height) == upright.size
    box = (crop.left, crop.top, crop.right, crop.bottom)
    part = upright.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    expected = np.asarray(part, np.int16) - reference_preprocess(encode(upright))
    assert np.abs(expected).max() <= 2


def test_crop_of_pixels_and_of_the_network_s_own_input(stub: Stub) -> None:
    pixels = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=[40, 80, 3], data=bytes(9600))
    own = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=[SIDE, SIDE, 3], data=bytes(SIDE**2 * 3))
    inputs = [pb.Input(pixels=pixels), pb.Input(tensor=own)]
    request = pb.ClassifyRequest(model="tiny", inputs=inputs, explanations=[Selection()])
    wide, whole = (r.prediction.crop for r in stub.Classify(request, timeout=30).results)
    assert (wide.image_width, wide.image_height) == (80, 40)
    assert (wide.left, wide.right) == (24, 56)
    assert whole == pb.ImageCrop(right=SIDE, bottom=SIDE, image_width=SIDE, image_height=SIDE)


def test_signal_is_explained_without_a_crop(stub: Stub) -> None:
    signal = np.random.default_rng(0).normal(size=(1, SIGNAL_LENGTH)).astype(np.float32)
    tensor = pb.Tensor(dtype=mpb.DATA_TYPE_FLOAT32, shape=signal.shape, data=signal.tobytes())
    request = pb.ClassifyRequest(model="pulse", inputs=[pb.Input(tensor=tensor)])
    request.explanations.extend([Selection(), Selection(method=EIGEN_CAM)])
    prediction = stub.Classify(request, timeout=30).results[0].prediction
    heat, eigen = map(array, prediction.explanations)
    assert heat.shape == eigen.shape == (SIGNAL_LENGTH,)
    assert np.abs(np.corrcoef(heat, signal[0])[0, 1]) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(eigen, signal[0] - signal.mean(), atol=1e-4)
    assert not prediction.HasField("crop")


def test_crop_belongs_to_feature_maps_too(stub: Stub) -> None:
    photo = encode(picture(90, 60))
    maps = [pb.FeatureMapSelection(name="conv")]
    plain, with_maps, explained = (
        stub.Classify(image_request(photo, **selected), timeout=30).results[0].prediction
        for selected in ({}, {"feature_maps": maps}, {"explanations": [Selection()]})
    )
    assert not plain.HasField("crop")
    assert with_maps.crop == explained.crop
    assert with_maps.crop.image_width == 90


# Batches


def test_explanations_come_with_the_same_classes_and_with_feature_maps(stub: Stub) -> None:
    maps = [pb.FeatureMapSelection(name="conv")]
    plain = stub.Classify(image_request(feature_maps=maps), timeout=30).results[0].prediction
    both = image_request(feature_maps=maps, explanations=[Selection()])
    found = stub.Classify(both, timeout=30).results[0].prediction
    assert found.classes == plain.classes
    assert found.feature_maps == plain.feature_maps
    (alone,) = explain(stub, Selection())
    assert found.explanations[0].heat.shape == alone.heat.shape
    np.testing.assert_allclose(array(found.explanations[0]), array(alone), atol=1e-6)


def test_requests_of_all_kinds_mix(stub: Stub) -> None:
    """Requests that run together ask for different numbers of classes, or for none."""
    kinds: list[list[Selection]] = [
        [],
        [Selection()],
        [Selection(target=RED, against=GREEN), Selection(target=pb.ClassTarget(rank=2))],
        [Selection(method=EIGEN_CAM)],
        [Selection(method=OCCLUSION, occlusion=pb.OcclusionGrid(cells=2)), Selection()],
    ]
    photos = [encode(picture(seed=seed)) for seed in range(10)]
    expected = [explain(stub, *kinds[n % 5], image=photo) for n, photo in enumerate(photos)]
    requests = [image_request(photo, explanations=kinds[n % 5]) for n, photo in enumerate(photos)]
    calls = [stub.Classify.future(request) for request in requests * 4]
    for n, call in enumerate(calls):
        found = call.result(timeout=30).results[0].prediction.explanations
        assert len(found) == len(expected[n % 10])
        for one, other in zip(found, expected[n % 10], strict=True):
            assert one.target.index == other.target.index
            np.testing.assert_allclose(array(one), array(other), atol=1e-4)


def test_streamed_requests_are_explained(stub: Stub) -> None:
    requests = [
        pb.ClassifyStreamRequest(request=image_request(explanations=[selection]))
        for selection in (Selection(), Selection(target=pb.ClassTarget(label="rad")))
    ]
    good, bad = stub.ClassifyStream(iter(requests), timeout=30)
    assert len(good.response.results[0].prediction.explanations) == 1
    assert bad.error.code == INVALID.value[0]
    assert "no class 'rad' in tiny v1; did you mean red?" in bad.error.message


# What is offered


def test_offer_is_part_of_the_description(stub: Stub) -> None:
    listed = {
        m.model: list(m.explanation_methods)
        for m in stub.ListModels(pb.ListModelsRequest(), timeout=30).models
    }
    assert listed == {
        "tiny": [GRAD_CAM, CAM, EIGEN_CAM, OCCLUSION],
        "deep": [GRAD_CAM, EIGEN_CAM, OCCLUSION],
        "bare": [OCCLUSION],
        "signal": [],
        "pulse": [GRAD_CAM, EIGEN_CAM],
        "edges": [],
        "odd": [OCCLUSION],
    }
    support = {name: describe(stub, name) for name in listed}
    assert {name: list(s.methods) for name, s in support.items()} == listed
    assert (support["tiny"].tensor, list(support["tiny"].positions)) == ("conv", [SIDE, SIDE])
    assert list(support["pulse"].positions) == [SIGNAL_LENGTH]
    assert (support["bare"].tensor, list(support["bare"].positions)) == ("", [])
    limits = support["tiny"]
    assert (limits.max_explanations, limits.max_rank, limits.max_occluded_images) == (8, 3, 256)


def describe(stub: Stub, model: str) -> pb.ExplanationSupport:
    return stub.GetModel(pb.GetModelRequest(model=model), timeout=30).explanations


# Errors


def selecting(*selections: Selection, model: str = "tiny", inputs: int = 1) -> pb.ClassifyRequest:
    return image_request(*[PHOTO] * inputs, model=model, explanations=selections)


def occluding(**options: Any) -> pb.ClassifyRequest:
    grid = pb.OcclusionGrid(**options)
    return selecting(Selection(method=OCCLUSION, occlusion=grid))


signal = signal_request()
signal.explanations.add()
occluded_signal = signal_request()
occluded_signal.explanations.add(method=OCCLUSION)
ERRORS: dict[str, tuple[pb.ClassifyRequest, list[str]]] = {
    "label": (
        selecting(Selection(target=pb.ClassTarget(label="gren"))),
        ["no class 'gren' in tiny v1; did you mean green?"],
    ),
    "label unlike any": (
        selecting(Selection(against=pb.ClassTarget(label="xyz"))),
        ["no class 'xyz' in tiny v1; GetModel lists its labels"],
    ),
    "label of two classes": (
        selecting(Selection(target=RED), model="deep"),
        ["2 classes of deep v1 are named 'red'; select one by its index, such as 0"],
    ),
    "index": (
        selecting(Selection(target=pb.ClassTarget(class_index=3))),
        ["no class 3 in tiny v1; it has the classes 0 to 2"],
    ),
    "negative index": (
        selecting(Selection(target=pb.ClassTarget(class_index=-1))),
        ["no class -1 in tiny v1"],
    ),
    "rank": (
        selecting(Selection(target=pb.ClassTarget(rank=4))),
        ["the rank is 4; for tiny v1 it is 1, the most probable class, to 3"],
    ),
    "rank 0": (selecting(Selection(target=pb.ClassTarget(rank=0))), ["the rank is 0"]),
    "no class": (
        selecting(Selection(against=pb.ClassTarget())),
        ["a class of an explanation is not set; set one of class_index, label and rank"],
    ),
    "against itself": (
        selecting(Selection(target=GREEN, against=pb.ClassTarget(label="green"))),
        ["a class is contrasted with itself"],
    ),
    "too many": (
        selecting(*[Selection()] * 9),
        ["9 explanations; at most 8 are computed; split it"],
    ),
    "a bundle without heat": (
        selecting(Selection(), model="bare"),
        [
            "bare v1 has no grad-cam; add it to the bundle with 'convscope-exporter explain'",
            "it offers: occlusion",
        ],
    ),
    "cam of a deep head": (
        selecting(Selection(method=CAM), model="deep"),
        [
            "deep v1 can't be explained by cam, because its classes are no linear function of",
            "it offers: grad-cam and eigen-cam and occlusion",
        ],
    ),
    "contrast of eigen-cam": (
        selecting(Selection(method=EIGEN_CAM, against=GREEN)),
        ["the heat of eigen-cam is the same for all classes", "leave out 'against'"],
    ),
    "later method": (
        selecting(Selection(method=99)),  # type: ignore[arg-type]
        ["no explanation method 99; tiny offers: grad-cam and cam"],
    ),
    "later type": (selecting(Selection(dtype=9)), ["no dtype 9"]),  # type: ignore[arg-type]
    "grid of another method": (
        selecting(Selection(occlusion=pb.OcclusionGrid(cells=3))),
        ["grad-cam occludes nothing; leave out 'occlusion'"],
    ),
    "one cell": (occluding(cells=1), ["the grid has 1 cells a side; it is 2 to 16"]),
    "more cells than pixels": (occluding(cells=17), ["17 cells a side; it is 2 to 16"]),
    "small window": (occluding(window=0.5), ["the window is 0.5 cells; it is 1 to 7"]),
    "no window": (occluding(window=float("nan")), ["the window is nan cells"]),
    "too many squares": (
        selecting(Selection(method=OCCLUSION), inputs=6),
        [
            "294 occluded images; at most 256 are allowed; use at most 6 cells a side, "
            "or use fewer inputs"
        ],
    ),
    "filter bank": (
        selecting(Selection(), model="edges"),
        ["edges v1 has no classes to explain; request its feature maps instead"],
    ),
    "signal": (signal, ["signal v1 has no grad-cam", "'convscope-exporter explain'", "none"]),
    "occluded signal": (occluded_signal, ["by occlusion: it takes no images"]),
}


def test_heat_that_the_provider_can_not_run_is_a_failed_precondition(stub: Stub) -> None:
    code, message = rejection(stub.Classify, selecting(Selection(), model="odd"))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "odd v1 can't be explained by grad-cam here: cpu can't run the graph" in message
    assert "it offers: occlusion" in message
    assert stub.Classify(image_request(model="odd"), timeout=30).results[0].prediction.classes


@pytest.mark.parametrize("mistake", ERRORS)
def test_mistake_is_explained(stub: Stub, mistake: str) -> None:
    request, parts = ERRORS[mistake]
    code, message = rejection(stub.Classify, request)
    assert code == INVALID
    for part in parts:
        assert part in message
