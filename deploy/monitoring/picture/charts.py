"""Draw the three kinds of panels in the overview: a number, lines, a table."""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from deploy.monitoring.picture.canvas import Box, Canvas
from deploy.monitoring.picture.units import formatted, ticks

__all__ = ["INK", "SOFT", "Span", "draw_panel"]

INK, SOFT, GRID, RED = "#ccccdc", "#8e8e9a", "#2a2d33", "#f2495c"
_NAMED = {"green": "#73bf69", "orange": "#ff9830", "red": RED, "text": INK}
_PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#b877d9", "#5794f2", "#f2495c")
_LEGEND_ROW = 17
_AXIS = 62
# The gap between the columns of a table, in letters.
_GAP = 6


@dataclass(frozen=True, slots=True)
class Span:
    """The time range, as Unix times."""

    start: float
    end: float

    def x(self, moment: float, box: Box) -> float:
        """Return the x coordinate of a moment in a box."""
        return box[0] + (moment - self.start) / (self.end - self.start) * (box[2] - box[0])


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its name in the legend and its points (moment, value). NaN is a gap."""

    name: str
    points: Sequence[tuple[float, float]]

    @property
    def values(self) -> list[float]:
        """Return the values without the gaps."""
        return [value for _, value in self.points if math.isfinite(value)]


def draw_panel(
    canvas: Canvas, box: Box, panel: dict[str, Any], answers: Sequence[Any], span: Span
) -> None:
    """Draw a panel with the answers to its queries."""
    left, top, right, bottom = box
    canvas.box(box, "#181b1f", 3)
    canvas.text((left + 10, top + 8), panel["title"], INK, 13, width=right - left - 20)
    inner = (left + 10, top + 32, right - 10, bottom - 8)
    if panel["type"] == "table":
        _draw_table(canvas, inner, panel, answers[0])
        return
    lines = _lines(panel, answers)
    if not lines:
        canvas.text((left + 10, top + 40), "No data", SOFT, 13)
    elif panel["type"] == "stat":
        _draw_stat(canvas, inner, panel, lines[0], span)
    else:
        _draw_series(canvas, inner, panel, lines, span)


def _lines(panel: dict[str, Any], answers: Sequence[Any]) -> list[Line]:
    return [
        Line(
            _legend(target["legendFormat"], series["metric"]),
            [(moment, float(value)) for moment, value in series["values"]],
        )
        for target, answer in zip(panel["targets"], answers, strict=True)
        for series in answer
    ]


def _legend(pattern: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda match: labels[match[1]], pattern)


def _draw_stat(canvas: Canvas, box: Box, panel: dict[str, Any], line: Line, span: Span) -> None:
    left, top, right, bottom = box
    defaults = panel["fieldConfig"]["defaults"]
    value = line.values[-1] if line.values else math.nan
    color = _threshold_color(value, defaults["thresholds"]["steps"])
    low, high = min(line.values, default=0), max(line.values, default=1)
    room = (left - 10, bottom - 34, right + 10, bottom + 8)
    points = [
        (span.x(moment, room), room[3] - 2 - (v - low) / ((high - low) or 1) * 28)
        for moment, v in line.points
        if math.isfinite(v)
    ]
    if len(points) > 1:
        canvas.area([(points[0][0], room[3]), *points, (points[-1][0], room[3])], color, 0.2)
        canvas.line(points, color)
    text = formatted(value, defaults["unit"], defaults.get("decimals"))
    canvas.text(((left + right) / 2, top + 34), text, color, 34, anchor="mm")


def _threshold_color(value: float, steps: Sequence[dict[str, Any]]) -> str:
    reached = [s["color"] for s in steps if s["value"] is None or value >= s["value"]]
    return _NAMED[reached[-1]]


def _draw_series(
    canvas: Canvas, box: Box, panel: dict[str, Any], lines: Sequence[Line], span: Span
) -> None:
    left, top, right, bottom = box
    unit = panel["fieldConfig"]["defaults"]["unit"]
    plot = (left + _AXIS, top + 6, right - 4, bottom - 26 - _LEGEND_ROW * (len(lines) + 1))
    levels = ticks(max((max(line.values, default=0) for line in lines), default=0) or 1)
    high = levels[-1]

    def y(value: float) -> float:
        return plot[3] - value / high * (plot[3] - plot[1])

    for level in levels:
        canvas.line([(plot[0], y(level)), (plot[2], y(level))], GRID)
        canvas.text((plot[0] - 6, y(level)), formatted(level, unit), SOFT, 10.5, anchor="rm")
    _draw_times(canvas, plot, span)
    for color, line in zip(_colors(lines), lines, strict=True):
        for run in _runs(line):
            points = [(span.x(moment, plot), y(value)) for moment, value in run]
            canvas.area([(points[0][0], plot[3]), *points, (points[-1][0], plot[3])], color, 0.08)
            canvas.line(points, color, 1.6)
    limit = _limit(panel)
    if limit is not None and limit <= high:
        canvas.dashes(plot[0], plot[2], y(limit), RED)
    _draw_legend(canvas, (left, plot[3] + 26, right, bottom), lines, unit)


def _limit(panel: dict[str, Any]) -> float | None:
    """Return the level of the dashed line. As in Grafana, it doesn't extend the scale."""
    defaults = panel["fieldConfig"]["defaults"]
    if "thresholdsStyle" not in defaults.get("custom", {}):
        return None
    level: float = defaults["thresholds"]["steps"][-1]["value"]
    return level


def _runs(line: Line) -> list[list[tuple[float, float]]]:
    """Split the points at the gaps. Runs of a single point are dropped."""
    runs: list[list[tuple[float, float]]] = [[]]
    for moment, value in line.points:
        if math.isfinite(value):
            runs[-1].append((moment, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _draw_times(canvas: Canvas, plot: Box, span: Span) -> None:
    step = 30
    moment = math.ceil(span.start / step) * step
    while moment <= span.end:
        x = span.x(moment, plot)
        canvas.line([(x, plot[1]), (x, plot[3])], GRID)
        if moment % (2 * step) == 0 and plot[0] + 12 < x < plot[2] - 12:
            clock = time.strftime("%H:%M", time.gmtime(moment))
            canvas.text((x, plot[3] + 6), clock, SOFT, 10.5, anchor="ma")
        moment += step


def _draw_legend(canvas: Canvas, box: Box, lines: Sequence[Line], unit: str) -> None:
    left, y, right, _ = box
    columns = ((right - 78, "Mean"), (right - 6, "Max"))
    for x, heading in columns:
        canvas.text((x, y), heading, SOFT, 11, anchor="ra")
    for color, line in zip(_colors(lines), lines, strict=True):
        y += _LEGEND_ROW
        canvas.box((left, y + 4, left + 14, y + 8), color, 2)
        canvas.text((left + 20, y), line.name, INK, 11, width=right - left - 180)
        values = line.values or [math.nan]
        for (x, _), value in zip(columns, (fmean(values), max(values)), strict=True):
            canvas.text((x, y), formatted(value, unit), INK, 11, anchor="ra")


def _colors(lines: Sequence[Line]) -> list[str]:
    return [_PALETTE[index % len(_PALETTE)] for index in range(len(lines))]


def _draw_table(canvas: Canvas, box: Box, panel: dict[str, Any], answer: Sequence[Any]) -> None:
    left, y, right, _ = box
    options = panel["transformations"][0]["options"]
    labels = sorted(options["indexByName"], key=options["indexByName"].__getitem__)
    facts = sorted((series["metric"] for series in answer), key=lambda m: str(m.get(labels[0])))
    rows = [options["renameByName"], *facts]
    widths = [max(len(row.get(label, "")) for row in rows) + _GAP for label in labels]
    unit = (right - left) / sum(widths)
    for number, row in enumerate(rows):
        x = left
        for label, width in zip(labels, widths, strict=True):
            canvas.text((x, y), row.get(label, ""), INK if number else SOFT, 11, width=width * unit)
            x += width * unit
        y += 24
        canvas.line([(left, y - 6), (right, y - 6)], GRID)
