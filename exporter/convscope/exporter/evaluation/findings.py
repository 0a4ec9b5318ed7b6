"""What the figures of an evaluation mean, in sentences."""

from collections.abc import Iterator

from convscope.exporter.evaluation.metrics import Figures
from convscope.exporter.evaluation.predictions import Predictions
from convscope.v1 import manifest_pb2 as pb

__all__ = ["findings", "guessing_warning", "warnings"]

FEW_INPUTS = 20
# With fewer inputs, the calibration error of a calibrated model is several percent.
FEW_FOR_CALIBRATION = 300
MAX_NAMES = 5
# A smaller difference of confidence and accuracy is no finding.
NOTABLE_GAP = 0.02


def findings(figures: Figures) -> Iterator[str]:
    """Yield the main results, the most important first."""
    wrong = figures.inputs - figures.correct
    if not wrong:
        yield f"All {figures.inputs:,} inputs are classified correctly."
    else:
        yield f"{wrong:,} of {figures.inputs:,} inputs are classified incorrectly."
        yield from _confusion(figures)
        yield from _lowest_recall(figures)
    yield _calibration(figures)


def warnings(figures: Figures, predictions: Predictions) -> Iterator[str]:
    """Yield what limits the meaning of the figures."""
    if guessing := guessing_warning(figures):
        yield guessing
    if figures.inputs < FEW_FOR_CALIBRATION:
        yield (
            f"The calibration error is a rough estimate, because there are only "
            f"{_count(figures.inputs, 'input', 'inputs')}."
        )
    missing = [one.label for one in figures.classes if not one.inputs]
    if missing:
        yield (
            f"{_count(len(missing), 'class has', 'classes have')} no inputs: {_names(missing)}. "
            "Recall is not defined for them, and the averages leave them out."
        )
    few = [one.label for one in figures.classes if 0 < one.inputs < FEW_INPUTS]
    if few:
        yield (
            f"{_count(len(few), 'class has', 'classes have')} fewer than {FEW_INPUTS} inputs: "
            f"{_names(few)}. Their precision and recall are rough estimates."
        )
    if predictions.skipped:
        yield (
            f"{_count(len(predictions.skipped), 'input has', 'inputs have')} no prediction and no "
            "part in the figures. The end of the report lists the reasons."
        )
    if predictions.manifest.activation == pb.ACTIVATION_SIGMOID and len(figures.classes) > 2:
        yield "The classes of this model are independent; the most probable one counts."


def guessing_warning(figures: Figures) -> str | None:
    """Return a warning if the model may be no better than always answering one class."""
    label, share = figures.majority.label, figures.majority_accuracy
    if share == 1:
        return None
    always = f"always answering “{label}”, which is right for {share:.1%} of these inputs"
    if figures.accuracy <= share:
        return f"The model is no better than {always}."
    if figures.accuracy_interval[0] <= share:
        return f"The accuracy is not clearly better than that of {always}."
    return None


def _confusion(figures: Figures) -> Iterator[str]:
    truth, predicted, count = figures.confusions()[0]
    if count > 1:
        a, b = (figures.classes[index].label for index in (truth, predicted))
        yield f"The most frequent error is “{a}” classified as “{b}”: {count:,} inputs."


def _lowest_recall(figures: Figures) -> Iterator[str]:
    found = [(one.recall, one.label) for one in figures.classes if one.recall is not None]
    recall, label = min(found)
    if len(found) > 1:
        yield f"The lowest recall is {recall:.1%}, of “{label}”."


def _calibration(figures: Figures) -> str:
    gap = figures.mean_confidence - figures.accuracy
    means = f"mean confidence {figures.mean_confidence:.1%}, accuracy {figures.accuracy:.1%}"
    if abs(gap) < NOTABLE_GAP:
        return f"The confidence agrees with the accuracy on average ({means})."
    low, high = figures.accuracy_interval
    if low <= figures.mean_confidence <= high:
        return (
            "These inputs are too few to call the model overconfident or underconfident "
            f"({means}, with a 95% interval of {low:.1%} to {high:.1%})."
        )
    word = "overconfident" if gap > 0 else "underconfident"
    return f"The model is {word} ({means})."


def _count(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _names(names: list[str]) -> str:
    rest = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {rest:,} more" if rest > 0 else "")
