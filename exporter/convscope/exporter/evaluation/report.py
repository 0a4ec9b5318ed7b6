"""Writes the report of an evaluation as one HTML file that needs nothing else."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from convscope.bundle.nonfinite import nonfinite_line
from convscope.bundle.preprocessing import preprocessing_line
from convscope.exporter.errors import ExporterError, reason
from convscope.exporter.evaluation.confusion import confusion_table
from convscope.exporter.evaluation.findings import findings, warnings
from convscope.exporter.evaluation.inputs import LabeledInputs
from convscope.exporter.evaluation.metrics import ClassFigures, Figures
from convscope.exporter.evaluation.pictures import data_uri
from convscope.exporter.evaluation.plots import accuracy_curve, loss_curves, reliability_diagram
from convscope.exporter.evaluation.predictions import Predictions
from convscope.exporter.evaluation.run_files import MIN_VALIDATION, TrainingRun

__all__ = ["Evaluation", "render_page", "report_page", "write_page"]

MAX_ERRORS = 24
MAX_CONFUSIONS = 10
MAX_SKIPPED = 20
PARTS = {"train": "training"}
# More classes are folded behind the worst ones.
MAX_CLASSES = 30


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model, the inputs on which it was evaluated, and the result."""

    inputs: LabeledInputs
    predictions: Predictions
    figures: Figures

    def as_json(self) -> dict[str, Any]:
        """Return the evaluation as plain values."""
        manifest = self.predictions.manifest
        return {
            "model": manifest.model,
            "version": manifest.version,
            "dataset": self.inputs.dataset,
            "dataset_path": self.inputs.location,
            "inputs_digest": self.inputs.digest,
            "split": self.inputs.split,
            "notes": [*self.inputs.notes, *filter(None, [self.inputs.warning])],
            "runs_on": self.predictions.runs_on,
            **self.figures.as_json(),
            "skipped": [
                {"name": one.name, "reason": one.reason} for one in self.predictions.skipped
            ],
            "worst_errors": [one.as_json() for one in worst_errors(self.predictions)],
        }


@dataclass(frozen=True, slots=True)
class WorstError:
    """A wrong prediction.

    Args:
        index: The input's position in the dataset.
        name: The input's name.
        truth: The right class.
        predicted: The predicted class.
        confidence: The probability of the predicted class.
        truth_probability: The probability of the right class.
    """

    index: int
    name: str
    truth: str
    predicted: str
    confidence: float
    truth_probability: float

    def as_json(self) -> dict[str, Any]:
        """Return the error as plain values."""
        return {
            "name": self.name,
            "true": self.truth,
            "predicted": self.predicted,
            "confidence": self.confidence,
            "true_probability": self.truth_probability,
        }


def worst_errors(predictions: Predictions, count: int = MAX_ERRORS) -> list[WorstError]:
    """Return the wrong predictions with the highest confidence."""
    best = predictions.best
    confidence = predictions.probabilities[np.arange(len(best)), best]
    wrong = np.flatnonzero(best != predictions.truth)
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return [
        WorstError(
            index=int(predictions.indices[row]),
            name=predictions.names[row],
            truth=predictions.labels[predictions.truth[row]],
            predicted=predictions.labels[best[row]],
            confidence=float(confidence[row]),
            truth_probability=float(predictions.probabilities[row, predictions.truth[row]]),
        )
        for row in chosen
    ]


def report_page(
    evaluation: Evaluation, run: TrainingRun | None = None, command: str | None = None
) -> str:
    """Return the page of one evaluation.

    Args:
        evaluation: The evaluation.
        run: The training run, to show its curves.
        command: The command that makes this evaluation.
    """
    figures, predictions = evaluation.figures, evaluation.predictions
    shown = sorted(figures.classes, key=_worst_first)
    curves = () if run is None else tuple(filter(None, (loss_curves(run), accuracy_curve(run))))
    return render_page(
        "report.html",
        title=predictions.title,
        evaluation=evaluation,
        manifest=predictions.manifest,
        preprocessing=preprocessing_line(predictions.manifest),
        nonfinite=nonfinite_line(predictions.manifest),
        figures=figures,
        findings=list(findings(figures)),
        warnings=list(warnings(figures, predictions)),
        run=run,
        run_facts=dict(_run_facts(run)) if run is not None else {},
        run_warning=None if run is None else _run_warning(run),
        curves=curves,
        command=command,
        confusion=confusion_table(figures),
        confusions=[
            (figures.classes[a].label, figures.classes[b].label, n, n / figures.classes[a].inputs)
            for a, b, n in figures.confusions()[:MAX_CONFUSIONS]
        ],
        classes=shown[:MAX_CLASSES],
        more_classes=shown[MAX_CLASSES:],
        reliability=reliability_diagram(figures.bins),
        errors=[
            (one, data_uri(evaluation.inputs.read(one.index))) for one in worst_errors(predictions)
        ],
        skipped=predictions.skipped[:MAX_SKIPPED],
        data=evaluation.as_json(),
    )


def write_page(page: str, path: Path) -> None:
    """Write a page.

    Raises:
        ExporterError: The file can't be written.
    """
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ExporterError(f"{path} can't be written: {reason(error)}") from error


def render_page(template: str, *, data: dict[str, Any], **values: Any) -> str:
    """Render a template with the figures embedded as JSON; names are escaped."""
    environment = Environment(
        loader=PackageLoader("convscope.exporter.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "sentence": _sentence}
    return environment.get_template(template).render(
        data=_embedded(data), created=datetime.now(UTC), **values
    )


def percent(share: float | None, digits: int = 1) -> str:
    """Format a share; a dash where it isn't defined."""
    return "–" if share is None else f"{100 * share:.{digits}f}%"


def points(difference: float | None) -> str:
    """Format a difference of two shares in percentage points."""
    return "–" if difference is None else f"{100 * difference:+.1f}".replace("-", "−")


def _sentence(text: str | None) -> str:
    """Return a message as a sentence."""
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _embedded(data: dict[str, Any]) -> Markup:
    """Return JSON that can't end the script element that contains it."""
    return Markup(json.dumps(data).replace("<", "\\u003c"))


def _worst_first(one: ClassFigures) -> tuple[bool, float, str]:
    return one.f1 is None, one.f1 or 0.0, one.label


def _run_warning(run: TrainingRun) -> str | None:
    count = run.split_sizes().get("validation")
    if count is None or count >= MIN_VALIDATION:
        return None
    return (
        f"There are only {count:,} validation inputs, so the validation curves and the published "
        "epoch depend on chance."
    )


def _run_facts(run: TrainingRun) -> Iterator[tuple[str, str]]:
    if run.epochs:
        yield "epochs", str(len(run.epochs))
    if run.best_epoch is not None:
        yield "published epoch", str(run.best_epoch)
    for name in ("batch_size", "learning_rate", "seed"):
        if (value := run.settings.get(name)) is not None:
            yield name.replace("_", " "), str(value)
    if run.seconds is not None:
        yield "training time", f"{run.seconds:,.0f} s"
    for part, count in run.split_sizes().items():
        yield f"{PARTS.get(part, part)} inputs", f"{count:,}"
