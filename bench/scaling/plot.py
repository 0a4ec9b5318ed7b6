"""Draw the simulations: latency by load, a day, and a sudden rise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from bench.plot import COLORS, GRID, INK, PAPER, SOFT

__all__ = ["draw"]

SIZE, DPI = (11.2, 8.4), 150
GREEN, LIGHT, ORANGE = COLORS["desired"], COLORS["yes"], COLORS["no"]
LINES = (ORANGE, LIGHT, GREEN)
DASHES = ("solid", (0, (5, 1.5)), "solid")
STYLE: Any = {  # matplotlib types the name of each setting
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "figure.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "xtick.color": GRID,
    "xtick.labelcolor": SOFT,
    "ytick.color": GRID,
    "ytick.labelcolor": SOFT,
}


def draw(simulation: Mapping[str, Any], path: Path) -> None:
    """Write the picture.

    Args:
        simulation: The results of `bench.scaling.scenarios`.
        path: The PNG file.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE)
        figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15)
        (curves, days), (rises, latencies) = figure.subplots(2, 2)
        _curves(curves, simulation["curves"])
        _days(days, simulation["days"])
        _rises(rises, simulation["rises"])
        _latencies(latencies, simulation["rises"])
        figure.savefig(path, dpi=DPI, metadata={"Software": None})


def _curves(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("p99 by load: eight cores, divided in three ways")
    layouts = list(dict.fromkeys(row["layout"] for row in rows))
    for layout, color, dash in zip(layouts, LINES, DASHES, strict=True):
        own = [row for row in rows if row["layout"] == layout]
        axes.plot(
            [row["utilization"] for row in own],
            [row["p99_ms"] for row in own],
            color=color,
            linestyle=dash,
            label=layout,
        )
    axes.set(yscale="log", xlabel="load relative to the capacity", ylabel="milliseconds")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _plain(axes)
    axes.legend(loc="upper left")


def _days(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("A day in three hours: the autoscaler follows the load")
    own = next(row for row in rows if row["fleet"] == "queue time and CPU")
    fixed = next(row for row in rows if row["fleet"].startswith("a fixed fleet"))
    minutes = [at / 60 for at, _ in own["offered"]]
    needed = [rate / own["replica_capacity"] for _, rate in own["offered"]]
    axes.fill_between(minutes, needed, color=GRID, label="load, in busy replicas")
    axes.step(
        [at / 60 for at, _, _ in own["samples"]],
        [ready for _, ready, _ in own["samples"]],
        where="post",
        color=GREEN,
        label="replicas, by queue time and CPU",
    )
    axes.axhline(
        fixed["replica_hours"] / (minutes[-1] / 60),
        color=ORANGE,
        linestyle=DASHES[1],
        label="a fixed fleet",
    )
    axes.set(
        xlabel="minute", ylabel="replicas", xlim=(0, 180), xticks=range(0, 181, 30), ylim=(0, 12)
    )
    axes.legend(loc="upper left")


def _rises(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("Three times the load within a minute")
    timeline = rows[0]["timeline"]
    axes.fill_between(
        [one["at"] / 60 for one in timeline],
        [one["offered"] for one in timeline],
        color=GRID,
        label="load",
    )
    for row, color in zip(rows, reversed(LINES), strict=True):
        axes.step(
            [one["at"] / 60 for one in row["timeline"]],
            [one["capacity"] for one in row["timeline"]],
            where="post",
            color=color,
            label=f"capacity, replicas start in {row['start_seconds']:.0f} s",
        )
    axes.set(xlabel="minute", ylabel="images per second", xlim=(0, 15))
    axes.set_ylim(0, 1.9 * max(one["capacity"] for row in rows for one in row["timeline"]) / 1.25)
    axes.legend(loc="upper left")


def _latencies(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("Its latency, and the share of the images that fail")
    for row, color in zip(rows, reversed(LINES), strict=True):
        timeline = [one for one in row["timeline"] if one["p99_ms"] is not None]
        minutes = [one["at"] / 60 for one in timeline]
        label = f"p99, replicas start in {row['start_seconds']:.0f} s"
        axes.plot(minutes, [one["p99_ms"] for one in timeline], color=color, label=label)
    axes.set(yscale="log", xlabel="minute", ylabel="milliseconds", xlim=(0, 15))
    axes.set_ylim(top=10_000)
    _plain(axes)
    failures = axes.twinx()
    failures.grid(visible=False)
    for row, color in zip(rows, reversed(LINES), strict=True):
        shares = [
            one["failed_per_second"] / one["offered"] if one["offered"] else 0.0
            for one in row["timeline"]
        ]
        minutes = [one["at"] / 60 for one in row["timeline"]]
        failures.fill_between(minutes, shares, color=color, alpha=0.25, linewidth=0)
    failures.set_ylim(0, 1.0)
    failures.set_ylabel("failed (areas)", color=SOFT)
    failures.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="upper left")


def _plain(axes: Axes) -> None:
    """Label a logarithmic axis with plain numbers."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_locator(NullLocator())
