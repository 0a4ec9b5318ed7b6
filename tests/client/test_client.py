"""The behavior of both clients with a real server."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from convscope.client import (
    Classification,
    FeatureMapSelection,
    InvalidInputError,
    NotFoundError,
    Resize,
    Tensor,
    UnavailableError,
)

SHAPE = (4, 16, 16)


def test_classify_returns_the_most_probable_class_first(
    caller: Any, photos: dict[str, Path]
) -> None:
    result = caller.classify(photos["green"], model="tiny", top_k=2)
    assert (result.model, result.version, result.provider) == ("tiny", 1, "cpu")
    assert result.top.label == "green"
    assert result.top is result.classes[0]
    assert len(result.classes) == 2
    assert result.classes[0].probability > result.classes[1].probability
    assert result.feature_maps == {}
    assert result.stage_seconds.infer > 0


def test_every_kind_of_image_has_the_same_result(caller: Any, photos: dict[str, Path]) -> None:
    path = photos["blue"]
    image = Image.open(path)
    kinds = [str(path), path, path.read_bytes(), image, np.asarray(image), image.convert("RGBA")]
    results = [caller.classify(kind, model="tiny") for kind in kinds]
    assert {result.top.label for result in results} == {"blue"}
    assert len({round(result.top.probability, 5) for result in results}) == 1


def test_a_tensor_is_sent_unchanged(caller: Any) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    assert caller.classify(Tensor(red), model="tiny").top.label == "red"
    signal = np.random.default_rng(0).normal(size=(1, 32)).astype(np.float32)
    assert caller.classify(Tensor(signal), model="signal").top.label in ("noise", "tone")
    with pytest.raises(InvalidInputError, match=r"this model takes uint8 \[16, 16, 3\]"):
        caller.classify(Tensor(red[:8]), model="tiny")


def test_min_probability_leaves_classes_out(caller: Any, photos: dict[str, Path]) -> None:
    result = caller.classify(photos["red"], model="tiny", min_probability=1.0)
    assert result.classes == ()
    with pytest.raises(LookupError, match="min_probability"):
        _ = result.top


def test_a_feature_map_is_float32_with_its_channels(caller: Any, photos: dict[str, Path]) -> None:
    result = caller.classify(photos["red"], model="tiny", feature_maps=["conv"])
    conv = result.feature_maps["conv"]
    assert (conv.array.dtype, conv.array.shape) == (np.float32, SHAPE)
    assert conv.channels == (0, 1, 2, 3)
    assert conv.strongest(1) == [0]  # channel 0 follows red


def test_a_bare_name_is_one_feature_map(caller: Any, photos: dict[str, Path]) -> None:
    result = caller.classify(photos["red"], model="tiny", feature_maps="conv")
    assert list(result.feature_maps) == ["conv"]


@pytest.mark.parametrize("all_of_them", ["all", ["all"], {"all"}])
def test_all_feature_maps(caller: Any, photos: dict[str, Path], all_of_them: Any) -> None:
    result = caller.classify(photos["red"], model="tiny", feature_maps=all_of_them)
    names = [spec.name for spec in caller.model("tiny").feature_maps]
    assert list(result.feature_maps) == names


def test_all_feature_maps_of_many_images(caller: Any, photos: dict[str, Path]) -> None:
    selection = FeatureMapSelection("conv", channels=[1])
    names = {spec.name for spec in caller.model("tiny").feature_maps}
    results = caller.classify_many(
        [photos["red"]] * 3, model="tiny", feature_maps=["all", selection]
    )
    for result in results:
        assert {*result.feature_maps} == names
        assert result.feature_maps["conv"].channels == (1,)


def test_selections_narrow_a_feature_map(caller: Any, photos: dict[str, Path]) -> None:
    def conv(**options: Any) -> Any:
        selection = FeatureMapSelection("conv", **options)
        result = caller.classify(photos["blue"], model="tiny", feature_maps=[selection])
        return result.feature_maps["conv"]

    whole = conv().array
    assert np.array_equal(conv(channels=[3, 1]).array, whole[[3, 1]])
    assert conv(channels=[3, 1]).channels == (3, 1)
    strongest = conv(strongest=2)
    assert strongest.channels[0] == 2
    assert np.array_equal(strongest.array, whole[list(strongest.channels)])
    mean = conv(mean=True)
    assert mean.channels == ()
    np.testing.assert_allclose(mean.array[0], whole.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize(("dtype", "steps"), [("float16", 2**10), ("uint8", 2 * 255)])
def test_narrow_types_are_near_float32(
    caller: Any, photos: dict[str, Path], dtype: Any, steps: int
) -> None:
    whole, narrow = (
        caller.classify(
            photos["green"], model="tiny", feature_maps=[FeatureMapSelection("conv", dtype=d)]
        ).feature_maps["conv"]
        for d in ("float32", dtype)
    )
    assert narrow.array.dtype == np.float32
    np.testing.assert_allclose(narrow.array, whole.array, atol=1.01 * np.ptp(whole.array) / steps)


def test_models_and_model_describe_the_server(caller: Any) -> None:
    assert [summary.model for summary in caller.models()] == ["signal", "tiny"]
    summary = caller.models()[1]
    assert (summary.is_default, summary.task, summary.num_classes) == (True, "classification", 3)
    info = caller.model("tiny", version=1)
    assert info.labels == ("red", "green", "blue")
    assert (info.input.kind, info.input.dtype, info.input.shape) == ("image", "uint8", (16, 16, 3))
    assert (info.provider, info.precision) == ("cpu", "fp32")
    (conv,) = info.feature_maps
    assert (conv.name, conv.channels, conv.height, conv.width, conv.stride) == (
        "conv",
        *SHAPE,
        1,
    )
    assert info.resize == Resize(shortest_edge=20)
    assert caller.model("signal").resize is None
    assert info.provenance.created_at is None
    assert info.execution is not None
    assert info.execution.max_batch >= 1
    assert info.execution.reason


def test_unknown_names_are_not_found(caller: Any, photos: dict[str, Path]) -> None:
    with pytest.raises(NotFoundError, match="this server has: signal, tiny") as caught:
        caller.classify(photos["red"], model="huge")
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    with pytest.raises(NotFoundError, match="no version 9"):
        caller.classify(photos["red"], model="tiny", version=9)
    with pytest.raises(NotFoundError, match="no alias 'champion'"):
        caller.model("tiny", alias="champion")


def test_the_error_for_an_unknown_feature_map_lists_the_known_ones(
    caller: Any, photos: dict[str, Path]
) -> None:
    with pytest.raises(InvalidInputError, match="it has: conv"):
        caller.classify(photos["red"], model="tiny", feature_maps=["layer9"])


def test_bytes_that_are_not_an_image_are_invalid(caller: Any) -> None:
    with pytest.raises(InvalidInputError, match="are not an image"):
        caller.classify(b"hello, world", model="tiny")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 1, "alias": "champion"}, "version 1 and alias 'champion' are both given"),
        ({"version": 0}, "version is 0"),
        ({"version": "1"}, "version is '1'"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": 2.5}, "top_k is 2.5"),
        ({"min_probability": 2}, "min_probability is 2"),
        ({"min_probability": math.nan}, "min_probability is nan"),
        ({"timeout_seconds": 0}, "timeout_seconds is 0"),
        ({"timeout_seconds": math.inf}, "timeout_seconds is inf"),
        ({"feature_maps": [3]}, "a feature map can't be 3"),
        ({"feature_maps": [[]]}, r"a feature map can't be \[\]"),
        ({"priority": "urgent"}, "priority is 'urgent'; there are: 'interactive', 'bulk'"),
        ({"routing_key": 7}, "routing_key is 7; give a name, a str"),
    ],
)
def test_wrong_arguments_are_named(caller: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        caller.classify(b"", model="tiny", **options)
    with pytest.raises(InvalidInputError, match=message):  # at the call, not at the first result
        caller.classify_many([], model="tiny", **options)


def test_many_results_come_in_order(caller: Any, photos: dict[str, Path]) -> None:
    labels = ["red", "green", "blue", "blue"] * 6
    results = caller.classify_many((photos[label] for label in labels), model="tiny", window=5)
    assert [result.top.label for result in results] == labels
    assert list(caller.classify_many([], model="tiny")) == []


def test_many_takes_no_more_images_than_the_window(caller: Any, photos: dict[str, Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for path in itertools.cycle(photos.values()):
            taken += 1
            yield path

    results = caller.classify_many(endless(), model="tiny", window=3)
    assert taken == 0
    for received, _ in enumerate(itertools.islice(results, 500)):
        assert taken <= received + 3 * 64
    results.close()


def test_many_returns_an_error_in_its_place(caller: Any, photos: dict[str, Path]) -> None:
    images = [photos["red"], "missing.png", b"not an image", photos["blue"]]
    outcomes = list(caller.classify_many(images, model="tiny", return_errors=True))
    assert [outcome.top.label for outcome in (outcomes[0], outcomes[3])] == ["red", "blue"]
    for outcome, message in zip(outcomes[1:3], ("'missing.png'", "not an image"), strict=True):
        assert isinstance(outcome, InvalidInputError)
        assert message in outcome.message


@pytest.mark.parametrize("bad", ["missing.png", b"not an image"])
def test_many_raises_the_first_error_and_sends_no_more(
    caller: Any, photos: dict[str, Path], bad: Any
) -> None:
    taken: list[Any] = []

    def images() -> Iterator[Any]:
        for image in [photos["red"], photos["green"], bad, *[photos["blue"]] * 20]:
            taken.append(image)
            yield image

    results = caller.classify_many(images(), model="tiny", window=2)
    assert isinstance(next(results), Classification)
    assert next(results).top.label == "green"
    with pytest.raises(InvalidInputError):
        next(results)
    assert len(taken) <= 4 + 8  # the second request may be larger than the first
    assert list(results) == []


def test_many_rejects_a_single_image(caller: Any) -> None:
    with pytest.raises(InvalidInputError, match="put it in a list"):
        caller.classify_many("cat.jpg", model="tiny")
    with pytest.raises(InvalidInputError, match="window is 0; it must be 1 or more"):
        caller.classify_many([], model="tiny", window=0)


def test_a_closed_client_raises_a_clear_error(caller: Any) -> None:
    caller.models()
    caller.close()
    with pytest.raises(UnavailableError, match="is closed"):
        caller.models()
