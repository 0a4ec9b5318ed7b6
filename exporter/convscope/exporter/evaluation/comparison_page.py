"""The page of a comparison."""

from collections.abc import Iterator, Sequence

from convscope.bundle.preprocessing import preprocessing_line
from convscope.exporter.evaluation.comparison import Comparison, Difference
from convscope.exporter.evaluation.pictures import data_uri
from convscope.exporter.evaluation.report import render_page

__all__ = ["comparison_page"]

MAX_PICTURES = 18
MAX_CLASSES = 15
# A split of errors that is rarer than this is not put down to chance.
SIGNIFICANCE = 0.05
NAMES = {
    "accuracy": "Accuracy",
    "top5_accuracy": "Top-5 accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "calibration_error": "Calibration error",
    "log_loss": "Log loss",
}
GROUPS = {
    "a": "Only {a} is right",
    "b": "Only {b} is right",
    "neither": "Both are wrong, in different ways",
}


def comparison_page(comparison: Comparison, command: str | None = None) -> str:
    """Return the page of a comparison; `command` is the one that makes it."""
    a, b = titles(comparison)
    better = [one for one in reversed(comparison.classes) if one.change > 0]
    worse = [one for one in comparison.classes if one.change < 0]
    return render_page(
        "comparison.html",
        title=f"{a} and {b}",
        a=a,
        b=b,
        comparison=comparison,
        inputs=comparison.a.inputs,
        preprocessing=[
            preprocessing_line(one.predictions.manifest) for one in (comparison.a, comparison.b)
        ],
        figures=[(NAMES[one.name], one) for one in comparison.figures],
        command=command,
        findings=list(findings(comparison)),
        better=better[:MAX_CLASSES],
        worse=worse[:MAX_CLASSES],
        more_better=len(better) - MAX_CLASSES,
        more_worse=len(worse) - MAX_CLASSES,
        groups=[
            (title.format(a=a, b=b), *_pictures(comparison, right))
            for right, title in GROUPS.items()
        ],
        data=comparison.as_json(),
    )


def titles(comparison: Comparison) -> tuple[str, str]:
    """Return the names of both models; they differ even for the same version."""
    a, b = comparison.a.predictions, comparison.b.predictions
    if a.title != b.title:
        return a.title, b.title
    return f"{a.title} (A)", f"{b.title} (B)"


def findings(comparison: Comparison) -> Iterator[str]:
    """Yield the main results."""
    a, b = titles(comparison)
    only_a, only_b = comparison.only_a_right, comparison.only_b_right
    if only_a == only_b:
        differ = len(comparison.differences)
        inputs = "no input" if not differ else f"{differ:,} input{'s' if differ > 1 else ''}"
        yield f"Both models are right equally often, and classify {inputs} differently."
        return
    name, more, less = (b, only_b, only_a) if only_b > only_a else (a, only_a, only_b)
    yield (
        f"{name} is right more often: on {more:,} inputs only it is right, on {less:,} only "
        "the other model."
    )
    if comparison.chance < SIGNIFICANCE:
        yield f"This difference is hardly chance (exact McNemar test, p = {comparison.chance:.2g})."
    else:
        yield (
            "A difference of this size can be chance (exact McNemar test, "
            f"p = {comparison.chance:.2f}); evaluate on more inputs before you decide."
        )


def _pictures(
    comparison: Comparison, right: str
) -> tuple[int, Sequence[tuple[Difference, str | None]]]:
    found = [one for one in comparison.differences if one.right == right]
    inputs = comparison.a.inputs
    return len(found), [(one, data_uri(inputs.read(one.index))) for one in found[:MAX_PICTURES]]
