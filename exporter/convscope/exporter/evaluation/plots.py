"""Draws learning curves and the reliability diagram as inline SVG with matplotlib.

The text of a plot stays text, and its colors are variables of the page's style sheet, so that a
plot follows the light and the dark mode.
"""

from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from convscope.exporter.evaluation.metrics import Bin
from convscope.exporter.evaluation.run_files import TrainingRun

__all__ = ["accuracy_curve", "loss_curves", "reliability_diagram"]

MIN_RANGE = 0.2  # of a plot of shares
WIDTH, HEIGHT = 5.2, 2.9  # inches
# matplotlib writes these colors, and the style sheet's variables replace them.
INK, SOFT, FAINT, FIRST, SECOND, THIRD = (f"#00010{digit}" for digit in range(1, 7))
VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    FAINT: "--line",
    FIRST: "--blue",
    SECOND: "--orange",
    THIRD: "--green",
}
STYLE: Any = {  # matplotlib types the name of each setting
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "figure.facecolor": "none",
    "figure.edgecolor": "none",
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "xtick.color": FAINT,
    "xtick.labelcolor": SOFT,
    "ytick.color": FAINT,
    "ytick.labelcolor": SOFT,
}


def loss_curves(run: TrainingRun) -> Markup | None:
    """Draw the training and the validation loss; return None if neither is recorded."""
    curves = {
        "training": _points(run, lambda one: one.train_loss),
        "validation": _points(run, lambda one: one.val_loss),
    }
    return _curves("Loss", curves, (FIRST, SECOND), run.best_epoch)


def accuracy_curve(run: TrainingRun) -> Markup | None:
    """Draw the training and the validation accuracy; return None if neither is recorded.

    A line shows the validation accuracy of always answering the most frequent class.
    """
    curves = {
        "training": _points(run, lambda one: one.train_accuracy),
        "validation": _points(run, lambda one: one.val_accuracy),
    }
    majority = run.majority_share("validation")
    return _curves("Accuracy", curves, (FIRST, SECOND), run.best_epoch, majority, percent=True)


def reliability_diagram(bins: Sequence[Bin]) -> Markup:
    """Draw the accuracy by confidence, above the number of inputs by confidence."""

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        filled = [one for one in bins if one.accuracy is not None and one.confidence is not None]
        width = bins[0].high - bins[0].low
        left = [one.low for one in filled]
        upper.bar(
            left,
            [one.accuracy or 0 for one in filled],
            width,
            align="edge",
            color=FIRST,
            alpha=0.55,
            edgecolor="none",
        )
        upper.plot([0, 1], [0, 1], "--", color=SOFT, linewidth=1)
        upper.plot(
            [one.confidence or 0 for one in filled],
            [one.accuracy or 0 for one in filled],
            "o",
            color=FIRST,
            markersize=4,
        )
        upper.set(ylim=(0, 1.03), ylabel="accuracy")
        lower.bar(
            [one.low for one in bins],
            [one.inputs for one in bins],
            width,
            align="edge",
            color=SOFT,
            alpha=0.6,
            edgecolor="none",
        )
        lower.set(xlim=(0, 1), xlabel="confidence", ylabel="inputs")
        lower.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        for axis in (upper.xaxis, upper.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, 0))

    return _svg("Reliability diagram", draw, (WIDTH, WIDTH * 0.85))


Points = list[tuple[int, float]]


def _points(run: TrainingRun, value: Callable[[Any], float | None]) -> Points:
    return [(one.epoch, found) for one in run.epochs if (found := value(one)) is not None]


def _curves(
    title: str,
    curves: dict[str, Points],
    colors: Sequence[str],
    best_epoch: int | None,
    majority: float | None = None,
    percent: bool = False,
) -> Markup | None:
    if not any(curves.values()):
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for (name, points), color in zip(curves.items(), colors, strict=True):
            if points:
                marker = "o" if len(points) < 30 else ""
                x, y = zip(*points, strict=True)
                axes.plot(x, y, marker=marker, markersize=3.5, color=color, label=name)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.set(xlabel="epoch", title=title)
        if majority is not None:
            axes.axhline(
                majority, color=SOFT, linewidth=1, linestyle="--", label="most frequent class"
            )
        if percent:
            _widen(axes)
            # Without steps of 2.5, no label needs more digits than its neighbors.
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        if best_epoch is not None:
            _mark(axes, best_epoch)
        axes.legend(loc="best")

    return _svg(title, draw, (WIDTH, HEIGHT))


def _widen(axes: Axes) -> None:
    """Show at least a minimum range, so that small changes look small."""
    low, high = axes.get_ylim()
    if (missing := MIN_RANGE - (high - low)) > 0:
        axes.set_ylim(max(-0.01, low - missing / 2), min(1.01, high + missing / 2))


def _mark(axes: Axes, epoch: int) -> None:
    """Mark the epoch whose weights were published."""
    axes.axvline(epoch, color=THIRD, linewidth=1.4, linestyle=":", label="published")


def _svg(title: str, draw: Callable[[Figure], None], size: tuple[float, float]) -> Markup:
    """Draw a figure; return it as an SVG element whose colors are the page's."""
    salt = title.lower().replace(" ", "-")
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": salt}):
        figure = Figure(size, layout="constrained")
        draw(figure)
        out = StringIO()
        none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=none)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    for color, variable in VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1))
