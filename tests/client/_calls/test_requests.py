"""Options and images as the messages of a request."""

from typing import Any

import numpy as np
import pytest

from convscope.client import FeatureMapSelection, InvalidInputError
from convscope.client._calls.requests import (
    RequestTemplate,
    encode_image,
    encode_request,
    encode_template,
)
from convscope.v1 import inference_pb2 as pb


def template(**options: Any) -> RequestTemplate:
    return encode_template(**{"model": "m", **options})


def message(**options: Any) -> pb.ClassifyRequest:
    return pb.ClassifyRequest.FromString(template(**options).key)


def test_a_request_contains_the_options() -> None:
    request = message(version=3, top_k=2, min_probability=0.5, feature_maps=["a"])
    assert (request.model, request.version, request.top_k) == ("m", 3, 2)
    assert request.min_probability == 0.5
    assert [selection.name for selection in request.feature_maps] == ["a"]
    assert message(alias="champion").WhichOneof("selector") == "alias"
    assert message().WhichOneof("selector") is None
    assert message(priority="bulk").priority == pb.PRIORITY_BULK


def test_a_template_makes_many_requests() -> None:
    shared = template(top_k=3)
    for images in ([b"x", b"y"], [b"z"]):
        request = encode_request(shared, [encode_image(shared, image) for image in images])
        assert [image.encoded_image for image in request.inputs] == images
        assert request.top_k == 3


def test_only_equal_options_have_equal_keys() -> None:
    options: list[dict[str, Any]] = [
        {},
        {"model": "n"},
        {"version": 1},
        {"alias": "1"},
        {"top_k": 1},
        {"min_probability": 0.5},
        {"priority": "bulk"},
        {"routing_key": "user 7"},
        {"feature_maps": ["a"]},
        {"feature_maps": [FeatureMapSelection("a", mean=True)]},
        {"feature_maps": [FeatureMapSelection("a", strongest=1)]},
    ]
    keys = [template(**option).key for option in options]
    assert len(set(keys)) == len(options)
    assert [template(**option).key for option in options] == keys


def test_an_empty_list_of_channels_is_not_all_of_them() -> None:
    (selection,) = message(feature_maps=[FeatureMapSelection("a", channels=[])]).feature_maps
    assert selection.WhichOneof("channels") == "indices"


def test_numpy_integers_are_integers() -> None:
    assert message(version=np.int64(2), top_k=np.int32(1)).version == 2


@pytest.mark.parametrize(
    "options", [{"channels": [1], "mean": True}, {"strongest": 1, "channels": []}]
)
def test_a_feature_map_is_narrowed_once(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="narrowed twice"):
        FeatureMapSelection("a", **options)


def test_a_feature_map_has_a_known_dtype() -> None:
    with pytest.raises(InvalidInputError, match="there are: float32, float16, uint8"):
        FeatureMapSelection("a", dtype="int8")  # type: ignore[arg-type]


def test_channels_that_are_not_indices_are_rejected() -> None:
    for channels in ([-1], [[1]]):
        selection = FeatureMapSelection("a", channels=channels)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="channel is"):
            template(feature_maps=[selection])
