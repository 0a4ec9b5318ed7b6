"""Replies from templates are those that a tree of messages serializes to."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope.server.errors import InvalidInputError, ServingError
from convscope.server.frontend.classifier.replies import error_message, write_prediction
from convscope.server.frontend.classifier.requests import ReplyPlan
from convscope.server.frontend.classifier.templates import ReplyTemplate
from convscope.server.inference.ranking import rank
from convscope.server.inference.requests import InferenceResult
from convscope.server.observability.stages import StageSeconds
from convscope.server.runtime.model import ModelOutput
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb

LABELS = ("", "cat", "ö" * 200, "x" * 20_000, *(f"class {number}" for number in range(300)))
MAPS = {"conv": np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)}


def template(labels: tuple[str, ...] = LABELS) -> ReplyTemplate:
    version = SimpleNamespace(
        key=("model", 300), labels=labels, model=SimpleNamespace(provider="cpu")
    )
    return ReplyTemplate(cast(LoadedVersion, version))


def result(probabilities: NDArray[np.float32], seconds: StageSeconds) -> InferenceResult:
    (classes,), (scores,) = rank(probabilities[np.newaxis], len(probabilities))
    output = ModelOutput(probabilities[np.newaxis], MAPS, None)
    return InferenceResult(classes, scores, None, output, 0, seconds)


def tree(
    outcomes: list[InferenceResult | ServingError], plan: ReplyPlan, seconds: list[float]
) -> pb.ClassifyResponse:
    """Return the reply as a tree of messages."""
    response = pb.ClassifyResponse(model="model", version=300, provider="cpu")
    left = iter(seconds)
    for outcome in outcomes:
        message = response.results.add()
        if isinstance(outcome, ServingError):
            message.error.CopyFrom(error_message(outcome))
            continue
        write_prediction(message.prediction, outcome, plan)
        times = message.stage_times
        times.decode_seconds = outcome.seconds.decode
        times.queue_seconds = outcome.seconds.queue
        times.infer_seconds = outcome.seconds.infer
        times.encode_seconds = next(left)
    return response


@pytest.mark.parametrize("seed", range(30))
def test_random_replies_are_those_of_a_tree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = template()
    for _ in range(5):
        outcomes: list[InferenceResult | ServingError] = []
        for _ in range(rng.integers(1, 4)):
            if rng.random() < 0.2:
                outcomes.append(InvalidInputError("wrong: ö"))
            values = rng.dirichlet([0.02] * len(LABELS)).astype(np.float32)
            outcomes.append(result(values, StageSeconds(*rng.random(3).tolist())))
        top_k, minimum = int(rng.integers(1, len(LABELS) + 1)), float(rng.choice([0, 0.1, 0.9]))
        selections: Any = [pb.FeatureMapSelection(name="conv")] if rng.random() < 0.2 else ()
        plan = ReplyPlan(LABELS, top_k, minimum, selections)
        reply, seconds = made.encode(outcomes, plan)
        assert len(seconds) == sum(isinstance(one, InferenceResult) for one in outcomes)
        assert pb.ClassifyResponse.FromString(reply) == tree(outcomes, plan, list(seconds))


@pytest.mark.parametrize(
    "values",
    [[0.0, 0.0], [1.0, 0.0], [0.5, 0.5], [1e-45, 1.0], [3.4e38, -3.4e38], [-0.0, 0.0]],
    ids=str,
)
@pytest.mark.parametrize("minimum", [0.0, 0.6, 1.0])
def test_extreme_values_are_those_of_a_tree(values: list[float], minimum: float) -> None:
    labels = ("", "a")
    outcomes: list[Any] = [result(np.array(values, np.float32), StageSeconds())]
    plan = ReplyPlan(labels, 2, minimum, ())
    reply, seconds = template(labels).encode(outcomes, plan)
    assert pb.ClassifyResponse.FromString(reply) == tree(outcomes, plan, list(seconds))


def test_model_without_classes_has_no_prediction() -> None:
    outcomes: list[Any] = [result(np.empty(0, np.float32), StageSeconds(1, 2, 3))]
    plan = ReplyPlan((), 5, 0.0, ())
    reply, seconds = template(()).encode(outcomes, plan)
    assert pb.ClassifyResponse.FromString(reply) == tree(outcomes, plan, list(seconds))
