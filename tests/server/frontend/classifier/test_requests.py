"""Messages of requests to inputs, and the checks of what a request selects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.tiny import CHANNELS, SIDE, tiny_manifest

from convscope.server.errors import InvalidInputError
from convscope.server.frontend.classifier.requests import ReplyPlan, decode_input, plan_reply
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.frontend.tensors import DTYPES
from convscope.server.inference.requests import EncodedImage, Input, Pixels, ReadyTensor
from convscope.server.runtime.versions import label_bytes
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

MANIFEST = tiny_manifest("tiny", 1)
U8, F16, F32 = mpb.DATA_TYPE_UINT8, mpb.DATA_TYPE_FLOAT16, mpb.DATA_TYPE_FLOAT32
SIGNAL = mpb.InputSpec(name="x", kind=mpb.INPUT_KIND_TENSOR, dtype=F32, shape=[1, 4])


def tensor(dtype: int, shape: Sequence[int], data: bytes) -> pb.Tensor:
    return pb.Tensor(dtype=mpb.DataType.ValueType(dtype), shape=shape, data=data)


def planned(request: pb.ClassifyRequest, manifest: mpb.ModelManifest, max_bytes: int) -> ReplyPlan:
    labels = tuple(manifest.labels)
    return plan_reply(request, manifest, labels, label_bytes(labels), ReplyLimits(2**25, max_bytes))


def decoded(message: pb.Input, spec: mpb.InputSpec) -> Input:
    return decode_input(message, DTYPES[spec.dtype], tuple(spec.shape))


def rejected_request(request: pb.ClassifyRequest, max_bytes: int = 2**24) -> str:
    if not request.inputs:
        request.inputs.add()
    with pytest.raises(InvalidInputError) as caught:
        planned(request, MANIFEST, max_bytes)
    return caught.value.message


def rejected_input(message: pb.Input, spec: mpb.InputSpec = MANIFEST.input) -> str:
    with pytest.raises(InvalidInputError) as caught:
        decoded(message, spec)
    return caught.value.message


# Classes


def test_unset_top_k_is_five() -> None:
    manifest = tiny_manifest("tiny", 1)
    manifest.labels.extend(map(str, range(20)))
    assert planned(pb.ClassifyRequest(), manifest, 0).top_k == 5


@pytest.mark.parametrize("top_k", [0, -1, -(2**31)])
def test_top_k_below_one_is_rejected(top_k: int) -> None:
    message = rejected_request(pb.ClassifyRequest(top_k=top_k))
    assert message == f"top_k is {top_k}; ask for 1 or more classes"


def test_size_of_the_classes_is_known_before_they_are() -> None:
    manifest = tiny_manifest("tiny", 1)
    manifest.labels[:] = [f"class {index}" for index in range(21_841)]

    def plan(inputs: int, **options: Any) -> ReplyPlan:
        request = pb.ClassifyRequest(inputs=[pb.Input()] * inputs, **options)
        return planned(request, manifest, 2**24)

    with pytest.raises(InvalidInputError, match=r"could take 4\d,\d{3},\d{3} bytes; at most 33,"):
        plan(64, top_k=21_841)
    assert plan(32, top_k=21_841).top_k == 21_841
    assert plan(64, top_k=1000).top_k == 1000
    assert plan(64, top_k=21_841, min_probability=0.25).top_k == 5  # more can't have as much


@pytest.mark.parametrize("minimum", [-0.01, 1.01, float("nan"), float("inf")])
def test_impossible_min_probability_is_rejected(minimum: float) -> None:
    message = rejected_request(pb.ClassifyRequest(min_probability=minimum))
    assert message == f"min_probability is {minimum:g}; it must be between 0 and 1"


# Inputs


def test_encoded_image_is_passed_on_unchanged() -> None:
    found = decoded(pb.Input(encoded_image=b"anything"), MANIFEST.input)
    assert found == EncodedImage(b"anything")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_of_any_size(channels: int) -> None:
    array = np.arange(5 * 7 * channels, dtype=np.uint8).reshape(5, 7, channels)
    message = pb.Input(pixels=tensor(U8, array.shape, array.tobytes()))
    found = decoded(message, MANIFEST.input)
    assert isinstance(found, Pixels)
    np.testing.assert_array_equal(found.array, array)


def test_tensor_in_the_model_s_own_shape() -> None:
    array = np.array([[1, -2, 0.5, 4]], "<f4")
    found = decoded(pb.Input(tensor=tensor(F32, (1, 4), array.tobytes())), SIGNAL)
    assert isinstance(found, ReadyTensor)
    np.testing.assert_array_equal(found.array, array)


def test_input_without_content_is_rejected() -> None:
    assert "set one of encoded_image, pixels and tensor" in rejected_input(pb.Input())


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [(U8, (5, 7), 35), (U8, (5, 7, 2), 70), (U8, (1, 5, 7, 3), 105), (F32, (2, 2, 3), 48)],
)
def test_pixels_of_another_type_or_shape_are_rejected(
    dtype: int, shape: tuple[int, ...], size: int
) -> None:
    message = rejected_input(pb.Input(pixels=tensor(dtype, shape, bytes(size))))
    assert str(list(shape)) in message
    assert "send uint8 [height, width, channels] with 1, 3 or 4 channels" in message


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        *(((5, 7, 3), 104), ((5, 7, 3), 106), ((5, 7, 3), 0), ((0, 7, 3), 0), ((), 1), ((), 0)),
        *(((-1, -5, 3), 15), ((2**62, 2**62, 3), 15), ((-5, 7, 3), 105)),
    ],
)
def test_shape_and_data_must_agree(shape: tuple[int, ...], size: int) -> None:
    message = rejected_input(pb.Input(pixels=tensor(U8, shape, bytes(size))))
    assert str(list(shape)) in message
    assert f"{size:,} were sent; shape and data must agree" in message


@pytest.mark.parametrize("dtype", [mpb.DATA_TYPE_UNSPECIFIED, 77])
@pytest.mark.parametrize("field", ["pixels", "tensor"])
def test_unknown_dtype_is_rejected(dtype: int, field: str) -> None:
    sent = tensor(U8, (1, 1, 1), b"\0")
    sent.dtype = mpb.DataType.ValueType(dtype)
    message = rejected_input(pb.Input(pixels=sent) if field == "pixels" else pb.Input(tensor=sent))
    assert "it is UINT8, FLOAT16 or FLOAT32" in message


@pytest.mark.parametrize(
    ("dtype", "shape", "size"), [(F16, (1, 4), 8), (F32, (4,), 16), (F32, (1, 5), 20)]
)
def test_tensor_of_another_type_or_shape_is_rejected(
    dtype: int, shape: tuple[int, ...], size: int
) -> None:
    message = rejected_input(pb.Input(tensor=tensor(dtype, shape, bytes(size))), SIGNAL)
    assert str(list(shape)) in message
    assert "this model takes float32 [1, 4]" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tensor_that_is_not_finite_is_rejected(value: float) -> None:
    data = np.array([0, 1, value, 2], "<f4").tobytes()
    message = rejected_input(pb.Input(tensor=tensor(F32, (1, 4), data)), SIGNAL)
    assert "NaN or infinite" in message


def test_pixels_of_a_hundred_dimensions_are_rejected() -> None:
    rejected_input(pb.Input(pixels=tensor(U8, [1] * 100, b"\0")))


def test_pixels_of_a_shape_beyond_all_numbers_are_rejected() -> None:
    rejected_input(pb.Input(pixels=tensor(U8, [2**62] * 300, b"\0")))


@pytest.mark.parametrize("field", ["pixels", "tensor"])
def test_rejection_of_a_long_shape_is_short(field: str) -> None:
    sent = tensor(U8, [1] * 5000, b"")
    message = pb.Input(pixels=sent) if field == "pixels" else pb.Input(tensor=sent)
    assert len(rejected_input(message)) < 1000


# Feature maps


def selection(**options: object) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(
        feature_maps=[pb.FeatureMapSelection(name="conv", **options)]  # type: ignore[arg-type]
    )


def test_unknown_feature_map_names_those_there_are() -> None:
    request = pb.ClassifyRequest(feature_maps=[pb.FeatureMapSelection(name="layer9")])
    assert rejected_request(request) == "no feature map 'layer9' in tiny v1; it has: conv"


def test_long_name_is_quoted_at_a_bounded_length() -> None:
    request = pb.ClassifyRequest(feature_maps=[pb.FeatureMapSelection(name="x" * 10**6)])
    assert len(rejected_request(request)) < 300


def test_feature_map_selected_twice_is_rejected() -> None:
    request = selection()
    request.feature_maps.append(request.feature_maps[0])
    assert rejected_request(request) == "the feature map 'conv' is selected twice"


@pytest.mark.parametrize("count", [0, -1, CHANNELS + 1])
def test_impossible_number_of_strongest_channels_is_rejected(count: int) -> None:
    message = rejected_request(selection(strongest=count))
    assert message == f"strongest is {count}; conv has {CHANNELS} channels"


@pytest.mark.parametrize(("wrong", "expected"), [([4], "4"), ([0, -1], "-1"), ([], "is empty")])
def test_impossible_channels_are_rejected(wrong: list[int], expected: str) -> None:
    message = rejected_request(selection(indices=pb.ChannelIndices(values=wrong)))
    assert expected in message
    assert "conv has the channels 0 to 3" in message


def test_unknown_dtype_of_a_feature_map_is_rejected() -> None:
    assert "UINT8, FLOAT16 or FLOAT32" in rejected_request(selection(dtype=77))


@pytest.mark.parametrize(
    ("options", "per_input"),
    [
        ({}, 4 * CHANNELS * SIDE**2),
        ({"dtype": F16}, 2 * CHANNELS * SIDE**2),
        ({"dtype": U8}, CHANNELS * SIDE**2),
        ({"mean": True}, 4 * SIDE**2),
        ({"strongest": 3}, 4 * 3 * SIDE**2),
        ({"indices": pb.ChannelIndices(values=[0, 0])}, 4 * 2 * SIDE**2),
    ],
)
def test_size_of_the_feature_maps_is_known_before_they_are(
    options: dict[str, object], per_input: int
) -> None:
    request = selection(**options)
    request.inputs.extend([pb.Input(), pb.Input()])
    assert planned(request, MANIFEST, 2 * per_input).feature_maps == ("conv",)
    message = rejected_request(request, 2 * per_input - 1)
    assert f"would take {2 * per_input:,} bytes" in message
    assert f"at most {2 * per_input - 1:,}" in message
    assert "fewer channels, or uint8" in message
