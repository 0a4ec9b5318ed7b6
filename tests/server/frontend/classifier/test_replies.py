"""Results to messages."""

import numpy as np
import pytest
from numpy.typing import NDArray
from support.tiny import CHANNELS, LABELS, SIDE, tiny_manifest

from convscope.server.errors import InvalidInputError
from convscope.server.frontend.classifier.replies import write_prediction
from convscope.server.frontend.classifier.requests import ReplyPlan, plan_reply
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.inference.ranking import rank
from convscope.server.inference.requests import InferenceResult
from convscope.server.observability.stages import StageSeconds
from convscope.server.runtime.model import ModelOutput
from convscope.server.runtime.versions import label_bytes
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

MANIFEST = tiny_manifest("tiny", 1)
U8, F16, F32 = mpb.DATA_TYPE_UINT8, mpb.DATA_TYPE_FLOAT16, mpb.DATA_TYPE_FLOAT32
PROBABILITIES = np.array([0.2, 0.5, 0.3], np.float32)
MAP = np.random.default_rng(0).normal(0, 5, (CHANNELS, SIDE, SIDE)).astype(np.float32)


def planned(request: pb.ClassifyRequest, manifest: mpb.ModelManifest, max_bytes: int) -> ReplyPlan:
    labels = tuple(manifest.labels)
    return plan_reply(request, manifest, labels, label_bytes(labels), ReplyLimits(2**25, max_bytes))


def result_of(
    probabilities: NDArray[np.float32], maps: dict[str, NDArray[np.float32]]
) -> InferenceResult:
    (classes,), (scores,) = rank(probabilities[np.newaxis], len(probabilities))
    batch_maps = {name: array[np.newaxis] for name, array in maps.items()}
    output = ModelOutput(probabilities[np.newaxis], batch_maps, None)
    return InferenceResult(classes, scores, None, output, 0, StageSeconds())


def predicted(
    request: pb.ClassifyRequest, probabilities: NDArray[np.float32] = PROBABILITIES
) -> pb.Prediction:
    if not request.inputs:
        request.inputs.add()
    plan = planned(request, MANIFEST, 2**24)
    prediction = pb.Prediction()
    write_prediction(prediction, result_of(probabilities, {"conv": MAP}), plan)
    return prediction


# Classes


@pytest.mark.parametrize(("top_k", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 0])])
def test_top_k_is_the_best_first(top_k: int, expected: list[int]) -> None:
    classes = predicted(pb.ClassifyRequest(top_k=top_k)).classes
    assert [c.index for c in classes] == expected
    assert [c.label for c in classes] == [LABELS[i] for i in expected]
    assert [c.probability for c in classes] == [PROBABILITIES[i] for i in expected]


@pytest.mark.parametrize("top_k", [4, 1000, 2**31 - 1])
def test_top_k_above_the_number_of_classes_returns_all(top_k: int) -> None:
    assert len(predicted(pb.ClassifyRequest(top_k=top_k)).classes) == 3


def test_classes_never_take_more_than_was_computed() -> None:
    labels = ("short", "ö" * 200, "x" * 20_000)
    best = np.array([0.2, 0.5, 0.3], np.float32)
    for top_k in (1, 2, 3):
        plan = ReplyPlan(labels, top_k, 0, ())
        prediction = pb.Prediction()
        write_prediction(prediction, result_of(best, {}), plan)
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
        write_prediction(prediction, result_of(values, {}), plan)
        assert [c.index for c in prediction.classes] == np.argsort(-values)[:top_k].tolist()


@pytest.mark.parametrize(
    ("minimum", "expected"), [(0, [1, 2, 0]), (0.25, [1, 2]), (0.5, [1]), (0.51, []), (1, [])]
)
def test_min_probability_leaves_out_what_is_less(minimum: float, expected: list[int]) -> None:
    classes = predicted(pb.ClassifyRequest(min_probability=minimum)).classes
    assert [c.index for c in classes] == expected


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


def test_no_feature_map_unless_selected() -> None:
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


def test_float16_can_not_hold_every_value() -> None:
    request = selection(dtype=F16)
    request.inputs.add()
    large = {"conv": MAP - 70_000}
    plan = planned(request, MANIFEST, 2**24)
    with pytest.raises(InvalidInputError, match=r"conv has the value -700\d\d\S*, .* uint8"):
        write_prediction(pb.Prediction(), result_of(PROBABILITIES, large), plan)


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
    write_prediction(prediction, result_of(PROBABILITIES, flat), plan)
    np.testing.assert_array_equal(values(prediction.feature_maps[0]), flat["conv"])
