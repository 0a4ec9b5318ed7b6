"""Replies as results and errors."""

import pickle
from typing import Any

import numpy as np
import pytest

from convscope.client import (
    ConvscopeError,
    InternalError,
    InvalidInputError,
    OverloadedError,
)
from convscope.client._results.results import decode_results, result_or_raise
from convscope.client._results.sent_image import CallFacts, SentImage
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb


def decode(response: pb.ClassifyResponse) -> Any:
    (outcome,) = decode_results(response, [SentImage()], CallFacts())
    return result_or_raise(outcome)


def reply(*results: pb.InputResult) -> pb.ClassifyResponse:
    return pb.ClassifyResponse(model="m", version=1, results=results)


def feature_map(**fields: Any) -> pb.ClassifyResponse:
    prediction = pb.Prediction(feature_maps=[pb.FeatureMap(name="a", **fields)])
    return reply(pb.InputResult(prediction=prediction))


def test_uint8_feature_maps_get_their_scale() -> None:
    tensor = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=[1, 1, 3], data=bytes([0, 1, 255]))
    result = decode(feature_map(tensor=tensor, scale=0.5, offset=-1, channels=[7]))
    a = result.feature_maps["a"]
    assert a.array.dtype == np.float32
    assert a.array.tolist() == [[[-1, -0.5, 126.5]]]
    assert a.array.flags.writeable
    assert (a.channels, a.model, a.version) == ((7,), "m", 1)


@pytest.mark.parametrize(
    "tensor",
    [
        pb.Tensor(dtype=mpb.DATA_TYPE_FLOAT32, shape=[1, 1, 2], data=bytes(4)),
        pb.Tensor(dtype=mpb.DATA_TYPE_FLOAT32, shape=[4], data=bytes(16)),
        pb.Tensor(dtype=mpb.DATA_TYPE_FLOAT32, shape=[-1, -1, 1], data=bytes(4)),
        pb.Tensor(shape=[1, 1, 1], data=bytes(4)),
    ],
)
def test_a_reply_that_contradicts_itself_is_an_error(tensor: pb.Tensor) -> None:
    with pytest.raises(InternalError, match="can't be read"):
        decode(feature_map(tensor=tensor))


def test_a_reply_without_its_result_is_an_error() -> None:
    with pytest.raises(InternalError, match="0 results for 1 image"):
        decode(reply())
    with pytest.raises(OverloadedError, match="full"):
        decode(reply(pb.InputResult(error=pb.ClassifyError(code=8, message="the queue is full"))))


def test_errors_keep_message_and_code_through_pickle() -> None:
    error = OverloadedError("full")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.message, again.code) == (OverloadedError, "full", error.code)
    assert issubclass(InvalidInputError, ConvscopeError)
    assert issubclass(InvalidInputError, ValueError)


@pytest.mark.parametrize("probability", [float("nan"), float("inf")])
def test_a_probability_that_is_not_finite_is_an_error(probability: float) -> None:
    scores = [pb.ClassScore(index=0, label="a", probability=probability)]
    with pytest.raises(InternalError, match="m v1 returned a probability that isn't finite"):
        decode(reply(pb.InputResult(prediction=pb.Prediction(classes=scores))))


def test_an_unknown_name_is_explained() -> None:
    tensor = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=[1, 1, 1], data=bytes(1))
    names = ("conv1", "pool1", "stage2")
    maps = [pb.FeatureMap(name=name, tensor=tensor) for name in names]
    result = decode(reply(pb.InputResult(prediction=pb.Prediction(feature_maps=maps))))
    with pytest.raises(KeyError) as info:
        result.feature_maps["stage1"]
    assert str(info.value).startswith(
        "the result has no feature map 'stage1'; it has: stage2, conv1, pool1; request others "
        "with classify(..., feature_maps=['stage1'])"
    )
    copied = pickle.loads(pickle.dumps(result)).feature_maps
    assert (copied, copied.get("stage1")) == (result.feature_maps, None)
    with pytest.raises(KeyError, match=r"has no feature map 'stage1'; it has: stage2"):
        copied["stage1"]
    with pytest.raises(KeyError, match="it has none; request"):
        decode(reply(pb.InputResult(prediction=pb.Prediction()))).feature_maps["conv1"]


def test_values_for_tables_have_the_digits_of_a_32_bit_number() -> None:
    numbers = [1 / 3, 5.7278133e-09, 0.1, 1.0]
    scores = [pb.ClassScore(index=i, label="a", probability=p) for i, p in enumerate(numbers)]
    times = pb.StageTimes(infer_seconds=0.0123456789)
    prediction = pb.Prediction(classes=scores)
    result = decode(reply(pb.InputResult(prediction=prediction, stage_times=times)))
    found = result.to_dict()
    shown = [score["probability"] for score in found["classes"]]
    assert all(len(f"{one:e}".partition("e")[0].replace(".", "")) <= 9 for one in shown)
    assert np.array_equal(np.array(shown, np.float32), np.array(numbers, np.float32))
    assert found["stage_seconds"]["infer"] == 0.012346
    row = result.to_row()
    assert [row["probability"], row["probability_2"]] == shown[:2]
    assert row["infer_seconds"] == 0.012346


def test_a_guessed_attribute_is_an_error_that_names_the_right_one() -> None:
    scores = [pb.ClassScore(index=0, label="a", probability=1)]
    result = decode(reply(pb.InputResult(prediction=pb.Prediction(classes=scores))))
    for one, guess, meant in (
        (result, "label", r"result\.top\.label"),
        (result, "score", r"result\.top\.probability"),
        (result.top, "class_name", "label"),
    ):
        with pytest.raises(AttributeError, match=f"no attribute '{guess}'; you may mean {meant}$"):
            getattr(one, guess)
    for one, slip, meant in (
        (result, "labell", r"; you may mean result\.top\.label"),
        (result, "modle", r"; did you mean 'model'\?"),
        (result.top, "lable", r"; did you mean 'label'\?"),
        (result, "other", ""),
        (result, "_modle", ""),  # libraries look for such names
    ):
        with pytest.raises(AttributeError, match=f"no attribute '{slip}'{meant}$") as info:
            getattr(one, slip)
        assert info.value.obj is None  # with it, Python would add a suggestion of its own
    assert not hasattr(result, "_repr_png_")
