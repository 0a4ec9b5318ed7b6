"""Messages to arrays and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.tiny import CHANNELS, LABELS, SIDE, tiny_manifest

from convscope.server.errors import InvalidInputError
from convscope.server.frontend.classifier.codec import (
    ReplyPlan,
    decode_input,
    plan_reply,
    write_prediction,
)
from convscope.server.frontend.reply_limits import ReplyLimits, label_bytes
from convscope.server.inference.ranking import rank
from convscope.server.inference.requests import (
    EncodedImage,
    InferenceResult,
    Input,
    Pixels,
    ReadyTensor,
)
from convscope.server.observability.stages import StageSeconds
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

MANIFEST = tiny_manifest("tiny", 1)
U8, F16, F32 = mpb.DATA_TYPE_UINT8, mpb.DATA_TYPE_FLOAT16, mpb.DATA_TYPE_FLOAT32
PROBABILITIES = np.array([0.2, 0.5, 0.3], np.float32)
MAP = np.random.default_rng(0).normal(0, 5, (CHANNELS, SIDE, SIDE)).astype(np.float32)
SIGNAL = mpb.InputSpec(name="x", kind=mpb.INPUT_KIND_TENSOR, dtype=F32, shape=[1, 4])


def tensor(dtype: int, shape: Sequence[int], data: bytes) -> pb.Tensor:
    return pb.Tensor(dtype=mpb.DataType.ValueType(dtype), shape=shape, data=data)


def planned(request: pb.ClassifyRequest, manifest: mpb.ModelManifest, max_bytes: int) -> ReplyPlan:
    labels = tuple(manifest.labels)
    return plan_reply(request, manifest, labels, label_bytes(labels), ReplyLimits(2**25, max_bytes))


def decoded(message: pb.Input, spec: mpb.InputSpec) -> Input:
    return decode_input(message, spec.dtype, tuple(spec.shape))


def answered(
    probabilities: NDArray[np.float32], maps: dict[str, NDArray[np.float32]]
) -> InferenceResult:
    (classes,), (scores,) = rank(probabilities[np.newaxis], len(probabilities))
    return InferenceResult(classes, scores, maps, probabilities, StageSeconds())


def predicted(
    request: pb.ClassifyRequest, probabilities: NDArray[np.float32] = PROBABILITIES
) -> pb.Prediction:
    if not request.inputs:
        request.inputs.add()
    plan = planned(request, MANIFEST, 2**24)
    prediction = pb.Prediction()
    write_prediction(prediction, answered(probabilities, {"conv": MAP}), plan)
    return prediction


def refused_request(request: pb.ClassifyRequest, max_bytes: int = 2**24) -> str:
    if not request.inputs:
        request.inputs.add()
    with pytest.raises(InvalidInputError) as caught:
        planned(request, MANIFEST, max_bytes)
    return caught.value.message


def refused_input(message: pb.Input, spec: mpb.InputSpec = MANIFEST.input) -> str:
    with pytest.raises(InvalidInputError) as caught:
        decoded(message, spec)
    return caught.value.message


# Classes


@pytest.mark.parametrize(("top_k", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 0])])
def test_top_k_is_the_best_first(top_k: int, expected: list[int]) -> None:
    classes = predicted(pb.ClassifyRequest(top_k=top_k)).classes
    assert [c.index for c in classes] == expected
    assert [c.label for c in classes] == [LABELS[i] for i in expected]
    assert [c.probability for c in classes] == [PROBABILITIES[i] for i in expected]


@pytest.mark.parametrize("top_k", [4, 1000, 2**31 - 1])
def test_top_k_above_the_classes_gives_all(top_k: int) -> None:
    assert len(predicted(pb.ClassifyRequest(top_k=top_k)).classes) == 3


def test_unset_top_k_is_five() -> None:
    manifest = tiny_manifest("tiny", 1)
    manifest.labels.extend(map(str, range(20)))
    assert planned(pb.ClassifyRequest(), manifest, 0).top_k == 5


@pytest.mark.parametrize("top_k", [0, -1, -(2**31)])
def test_top_k_below_one_is_refused(top_k: int) -> None:
    message = refused_request(pb.ClassifyRequest(top_k=top_k))
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


def test_classes_never_take_more_than_was_reckoned() -> None:
    labels = ("short", "ö" * 200, "x" * 20_000)
    best = np.array([0.2, 0.5, 0.3], np.float32)
    for top_k in (1, 2, 3):
        plan = ReplyPlan(labels, top_k, 0, ())
        prediction = pb.Prediction()
        write_prediction(prediction, answered(best, {}), plan)
        assert prediction.ByteSize() <= top_k * 20 + label_bytes(labels)[top_k]


def test_of_equal_probabilities_the_first_class_comes_first() -> None:
    equal = np.full(3, 1 / 3, np.float32)
    for top_k in (1, 2, 3):
        classes = predicted(pb.ClassifyRequest(top_k=top_k), equal).classes
        assert [c.index for c in classes] == list(range(top_k))


@pytest.mark.parametrize("seed", range(5))
def test_ranking_of_many_classes_is_that_of_a_full_sort(seed: int) -> None:
    manifest = tiny_manifest("tiny", 1)
    manifest.labels.extend(str(i) for i in range(997))
    values = np.random.default_rng(seed).random(1000).astype(np.float32)
    for top_k in (1, 5, 999, 1000):
        plan = planned(pb.ClassifyRequest(top_k=top_k), manifest, 0)
        prediction = pb.Prediction()
        write_prediction(prediction, answered(values, {}), plan)
        assert [c.index for c in prediction.classes] == np.argsort(-values)[:top_k].tolist()


@pytest.mark.parametrize(
    ("minimum", "expected"), [(0, [1, 2, 0]), (0.25, [1, 2]), (0.5, [1]), (0.51, []), (1, [])]
)
def test_min_probability_leaves_out_what_is_less(minimum: float, expected: list[int]) -> None:
    classes = predicted(pb.ClassifyRequest(min_probability=minimum)).classes
    assert [c.index for c in classes] == expected


@pytest.mark.parametrize("minimum", [-0.01, 1.01, float("nan"), float("inf")])
def test_impossible_min_probability_is_refused(minimum: float) -> None:
    message = refused_request(pb.ClassifyRequest(min_probability=minimum))
    assert message == f"min_probability is {minimum:g}; it lies between 0 and 1"


# Inputs


def test_encoded_image_goes_as_it_is() -> None:
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


def test_input_without_content_is_refused() -> None:
    assert "set one of encoded_image, pixels and tensor" in refused_input(pb.Input())


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [(U8, (5, 7), 35), (U8, (5, 7, 2), 70), (U8, (1, 5, 7, 3), 105), (F32, (2, 2, 3), 48)],
)
def test_pixels_of_another_type_or_shape_are_refused(
    dtype: int, shape: tuple[int, ...], size: int
) -> None:
    message = refused_input(pb.Input(pixels=tensor(dtype, shape, bytes(size))))
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
    message = refused_input(pb.Input(pixels=tensor(U8, shape, bytes(size))))
    assert str(list(shape)) in message
    assert f"{size:,} were sent; shape and data must agree" in message


@pytest.mark.parametrize("dtype", [mpb.DATA_TYPE_UNSPECIFIED, 77])
@pytest.mark.parametrize("field", ["pixels", "tensor"])
def test_unknown_dtype_is_refused(dtype: int, field: str) -> None:
    sent = tensor(U8, (1, 1, 1), b"\0")
    sent.dtype = mpb.DataType.ValueType(dtype)
    message = refused_input(pb.Input(pixels=sent) if field == "pixels" else pb.Input(tensor=sent))
    assert "it is UINT8, FLOAT16 or FLOAT32" in message


@pytest.mark.parametrize(
    ("dtype", "shape", "size"), [(F16, (1, 4), 8), (F32, (4,), 16), (F32, (1, 5), 20)]
)
def test_tensor_of_another_type_or_shape_is_refused(
    dtype: int, shape: tuple[int, ...], size: int
) -> None:
    message = refused_input(pb.Input(tensor=tensor(dtype, shape, bytes(size))), SIGNAL)
    assert str(list(shape)) in message
    assert "this model takes float32 [1, 4]" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tensor_that_is_not_finite_is_refused(value: float) -> None:
    data = np.array([0, 1, value, 2], "<f4").tobytes()
    message = refused_input(pb.Input(tensor=tensor(F32, (1, 4), data)), SIGNAL)
    assert "NaN or infinite" in message


def test_pixels_of_a_hundred_dimensions_are_refused() -> None:
    refused_input(pb.Input(pixels=tensor(U8, [1] * 100, b"\0")))


def test_pixels_of_a_shape_beyond_all_numbers_are_refused() -> None:
    refused_input(pb.Input(pixels=tensor(U8, [2**62] * 300, b"\0")))


@pytest.mark.parametrize("field", ["pixels", "tensor"])
def test_refusal_of_a_long_shape_is_short(field: str) -> None:
    sent = tensor(U8, [1] * 5000, b"")
    message = pb.Input(pixels=sent) if field == "pixels" else pb.Input(tensor=sent)
    assert len(refused_input(message)) < 1000


# Feature maps


def selection(**options: object) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(
        feature_maps=[pb.FeatureMapSelection(name="conv", **options)]  # type: ignore[arg-type]
    )


def values(message: pb.FeatureMap) -> NDArray[np.float32]:
    dtype = {U8: "u1", F16: "<f2", F32: "<f4"}[message.tensor.dtype]
    stored = np.frombuffer(message.tensor.data, np.dtype(dtype))
    array = stored.reshape(tuple(message.tensor.shape)).astype(np.float32)
    return np.asarray(message.offset + message.scale * array, np.float32)


def feature_map(**options: object) -> pb.FeatureMap:
    (found,) = predicted(selection(**options)).feature_maps
    return found


def test_no_feature_map_unless_asked_for() -> None:
    assert len(predicted(pb.ClassifyRequest()).feature_maps) == 0


def test_whole_feature_map() -> None:
    found = feature_map()
    assert found.name == "conv"
    assert list(found.channels) == list(range(CHANNELS))
    assert (found.tensor.dtype, found.scale, found.offset) == (F32, 1, 0)
    np.testing.assert_array_equal(values(found), MAP)


def test_chosen_channels_come_in_the_order_of_the_request() -> None:
    found = feature_map(indices=pb.ChannelIndices(values=[3, 0, 3]))
    assert list(found.channels) == [3, 0, 3]
    np.testing.assert_array_equal(values(found), MAP[[3, 0, 3]])


@pytest.mark.parametrize("count", [1, 2, CHANNELS])
def test_strongest_channels_have_the_largest_means(count: int) -> None:
    order = np.argsort(-MAP.mean(axis=(1, 2)))[:count]
    found = feature_map(strongest=count)
    assert list(found.channels) == order.tolist()
    np.testing.assert_array_equal(values(found), MAP[order])


def test_mean_over_the_channels() -> None:
    found = feature_map(mean=True)
    assert list(found.channels) == []
    assert list(found.tensor.shape) == [1, SIDE, SIDE]
    np.testing.assert_allclose(values(found), MAP.mean(axis=0, keepdims=True), rtol=1e-5)


def test_mean_that_is_false_is_no_selection() -> None:
    assert len(feature_map(mean=False).channels) == CHANNELS


def test_float16() -> None:
    found = feature_map(dtype=F16)
    assert len(found.tensor.data) == 2 * MAP.size
    np.testing.assert_allclose(values(found), MAP, rtol=1e-3)


@pytest.mark.parametrize("options", [{}, {"mean": True}, {"strongest": 2}])
def test_uint8_is_within_half_a_step(options: dict[str, object]) -> None:
    exact, found = feature_map(**options), feature_map(dtype=U8, **options)
    assert len(found.tensor.data) * 4 == len(exact.tensor.data)
    assert np.abs(values(found) - values(exact)).max() <= found.scale * 0.5001


def test_uint8_of_a_constant_map() -> None:
    request = selection(dtype=U8)
    request.inputs.add()
    prediction = pb.Prediction()
    flat = {"conv": np.full((CHANNELS, SIDE, SIDE), 3.5, np.float32)}
    plan = planned(request, MANIFEST, 2**24)
    write_prediction(prediction, answered(PROBABILITIES, flat), plan)
    np.testing.assert_array_equal(values(prediction.feature_maps[0]), flat["conv"])


def test_unknown_feature_map_names_those_there_are() -> None:
    request = pb.ClassifyRequest(feature_maps=[pb.FeatureMapSelection(name="layer9")])
    assert refused_request(request) == "no feature map 'layer9' in tiny v1; it has: conv"


def test_long_name_is_quoted_at_a_bounded_length() -> None:
    request = pb.ClassifyRequest(feature_maps=[pb.FeatureMapSelection(name="x" * 10**6)])
    assert len(refused_request(request)) < 300


def test_feature_map_asked_for_twice_is_refused() -> None:
    request = selection()
    request.feature_maps.append(request.feature_maps[0])
    assert refused_request(request) == "the feature map 'conv' is asked for twice"


@pytest.mark.parametrize("count", [0, -1, CHANNELS + 1])
def test_impossible_number_of_strongest_channels_is_refused(count: int) -> None:
    message = refused_request(selection(strongest=count))
    assert message == f"strongest is {count}; conv has {CHANNELS} channels"


@pytest.mark.parametrize(("wrong", "said"), [([4], "4"), ([0, -1], "-1"), ([], "is empty")])
def test_impossible_channels_are_refused(wrong: list[int], said: str) -> None:
    message = refused_request(selection(indices=pb.ChannelIndices(values=wrong)))
    assert said in message
    assert "conv has the channels 0 to 3" in message


def test_unknown_dtype_of_a_feature_map_is_refused() -> None:
    assert "UINT8, FLOAT16 or FLOAT32" in refused_request(selection(dtype=77))


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
    message = refused_request(request, 2 * per_input - 1)
    assert f"would take {2 * per_input:,} bytes" in message
    assert f"at most {2 * per_input - 1:,}" in message
    assert "fewer channels, or uint8" in message
