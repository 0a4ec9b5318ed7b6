"""Runs a model on labeled inputs, and matches the dataset's classes with its labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.errors import DatasetError
from convscope.exporter.evaluation.inputs import LabeledInputs
from convscope.exporter.evaluation.predictors import Predictor
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Predictions", "Skipped", "collect", "match_labels"]

BATCH = 32
SHOWN_LABELS = 8


@dataclass(frozen=True, slots=True)
class Skipped:
    """An input without a prediction, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Predictions:
    """A model's probabilities for the inputs of a dataset.

    Args:
        manifest: The model's manifest.
        runs_on: What computed the probabilities.
        indices: The position of each input in the dataset, int64 [N].
        names: The name of each input.
        truth: The label of each input, as a position in the model's labels, int64 [N].
        probabilities: float32 [N, K].
        skipped: The inputs without a prediction.
    """

    manifest: pb.ModelManifest
    runs_on: str
    indices: NDArray[np.int64]
    names: tuple[str, ...]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    skipped: tuple[Skipped, ...]

    @property
    def title(self) -> str:
        """The model and its version."""
        return f"{self.manifest.model} v{self.manifest.version}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's labels."""
        return tuple(self.manifest.labels)

    @property
    def best(self) -> NDArray[np.int64]:
        """The most probable class of each input, int64 [N]."""
        best: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return best


def collect(
    predictor: Predictor,
    inputs: LabeledInputs,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Predictions:
    """Run a model on every input.

    Args:
        predictor: The model.
        inputs: The labeled inputs.
        on_progress: Called with the number of inputs of each finished batch.

    Raises:
        DatasetError: A class of the dataset isn't a label of the model, or no input is readable.
        ExporterError: The model can't be run.
    """
    manifest = predictor.manifest
    title = f"{manifest.model} v{manifest.version}"
    positions = match_labels(inputs.classes, manifest.labels, title)
    kept: list[int] = []
    names: list[str] = []
    rows: list[NDArray[np.float32]] = []
    skipped: list[Skipped] = []
    for start in range(0, len(inputs), BATCH):
        batch = range(start, min(start + BATCH, len(inputs)))
        samples = [inputs.read(index) for index in batch]
        for index, sample, row in zip(batch, samples, predictor.predict(samples), strict=True):
            if isinstance(row, str):
                skipped.append(Skipped(sample.name, row))
            elif not np.isfinite(row).all():
                skipped.append(Skipped(sample.name, "the result is not finite"))
            else:
                kept.append(index)
                names.append(sample.name)
                rows.append(row)
        on_progress(len(batch))
    if not rows:
        raise DatasetError(
            f"no input of {inputs.dataset} has a prediction; {skipped[0].name}: {skipped[0].reason}"
        )
    indices = np.array(kept, np.int64)
    return Predictions(
        predictor.manifest,
        predictor.runs_on,
        indices,
        tuple(names),
        positions[inputs.labels[indices]],
        np.stack(rows),
        tuple(skipped),
    )


def match_labels(
    classes: Sequence[str], labels: Sequence[str], title: str = "the model"
) -> NDArray[np.int64]:
    """Return the position in the model's labels of each class of a dataset.

    Names match exactly, or else without regard to case, spaces, hyphens and underscores.

    Args:
        classes: The dataset's classes.
        labels: The model's labels.
        title: The model's name in messages.

    Raises:
        DatasetError: A class has no label, or more than one, or two classes have the same.
    """
    found = [_match(name, labels, title) for name in classes]
    for position in found:
        if found.count(position) > 1:
            same = [repr(name) for name, at in zip(classes, found, strict=True) if at == position]
            raise DatasetError(
                f"the dataset's classes {' and '.join(same)} are the same label of {title}, "
                f"{labels[position]!r}; rename or merge them"
            )
    return np.array(found, np.int64)


def _match(name: str, labels: Sequence[str], title: str) -> int:
    exact = [index for index, label in enumerate(labels) if label == name]
    found = exact or [index for index, label in enumerate(labels) if _same(label) == _same(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DatasetError(
            f"the dataset's class {name!r} is the label of several classes of {title}: "
            f"{', '.join(map(str, found))}; make its labels unique"
        )
    shown = ", ".join(labels[:SHOWN_LABELS]) + (", ..." if len(labels) > SHOWN_LABELS else "")
    cure = "rename the class"
    if list(labels) == [str(index) for index in range(len(labels))]:
        cure = "they are mere numbers, so publish the model again with --labels"
    raise DatasetError(
        f"the dataset's class {name!r} is not a label of {title}; its {len(labels)} labels are: "
        f"{shown}; {cure}"
    )


def _same(name: str) -> str:
    return "".join(name.casefold().replace("_", " ").replace("-", " ").split())
