"""Evaluates a model, and compares two."""

from collections.abc import Callable

from convscope.exporter.datasets import DatasetOptions
from convscope.exporter.evaluation.inputs import LabeledInputs, SplitName, select_inputs
from convscope.exporter.evaluation.metrics import measure
from convscope.exporter.evaluation.predictions import collect
from convscope.exporter.evaluation.predictors import Predictor
from convscope.exporter.evaluation.report import Evaluation

__all__ = ["evaluate", "inputs_for"]


def inputs_for(
    predictor: Predictor, dataset: str, options: DatasetOptions, split: SplitName | None = None
) -> LabeledInputs:
    """Select the inputs on which a model is evaluated.

    Raises:
        ExporterError: The dataset can't be read.
    """
    return select_inputs(dataset, options, split, predictor.manifest.provenance.dataset)


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
