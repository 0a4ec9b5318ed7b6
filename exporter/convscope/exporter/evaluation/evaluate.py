"""Evaluates a model on labeled inputs."""

from collections.abc import Callable

from convscope.exporter.evaluation.inputs import LabeledInputs
from convscope.exporter.evaluation.metrics import measure
from convscope.exporter.evaluation.predictions import collect
from convscope.exporter.evaluation.predictors import Predictor
from convscope.exporter.evaluation.report import Evaluation

__all__ = ["evaluate"]


def evaluate(
    predictor: Predictor,
    inputs: LabeledInputs,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Evaluation:
    """Evaluate a model on labeled inputs.

    Raises:
        ExporterError: The dataset doesn't fit the model, or the model can't be run.
    """
    found = collect(predictor, inputs, on_progress)
    return Evaluation(inputs, found, measure(found.probabilities, found.truth, found.labels))
