"""Draw the results: each figure relative to its target, and Convscope relative to each peer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from bench.targets import TARGETS

__all__ = ["Bar", "bars", "draw", "goodness"]

# Twice the size at which Markdown pages show the picture.
WIDTH = 1680
MARGIN = 48
LABEL_WIDTH = 420
TEXT_WIDTH = 650
# The right ends of the columns of text, from the right end of the axis.
COLUMNS = (145, 320, 430, 545, 650)
ROW = 42
BAR = 24
TITLE = 122
HEADING = 100
GAP = 36
LOW, HIGH = 0.4, 4.0
TICKS = (0.5, 0.7, 1, 1.5, 2, 3)

PAPER, INK, SOFT, GRID, STRIPE = "#ffffff", "#1f2430", "#6b7280", "#dfe3e8", "#f6f7f9"
COLORS = {"desired": "#1b7f5a", "yes": "#5fb894", "no": "#d9822b"}
LEGEND = {
    "desired": "reaches the desired value",
    "yes": "reaches the required value",
    "no": "misses the required value",
}
OWN = "Each figure relative to its required value: right of the line it is reached"
PEERS = "Calls per second relative to each peer: right of the line Convscope is faster"
HEADS = {
    OWN: ("measured", "spread", "required", "desired"),
    PEERS: ("measured", "spread", "required", "Convscope", "peer"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the plot.

    Args:
        label: The name of the figure.
        verdict: What the figure reaches; see `Target.verdict`.
        value: The length of the bar, 1 at the line; None if not measured.
        low: The worst pair on the same scale.
        high: The best pair on the same scale.
        cells: The columns of text next to the bar.
    """

    label: str
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    cells: tuple[str, ...]


def goodness(key: str, value: float | None) -> float | None:
    """Return a value relative to the required one. A result above 1 is better than required."""
    target = TARGETS[key]
    if value is None or target.required is None:
        return None
    if target.at_most is not None:
        return math.inf if value <= 0 else target.at_most / value
    return value / target.required


def bars(document: Mapping[str, Any]) -> dict[str, list[Bar]]:
    """Return the rows of the plot by heading."""
    own = [
        _own(row)
        for row in document["table"]
        if row["required"] != "recorded" and not row["key"].startswith("peers.")
    ]
    peers = [
        _peer(document, row)
        for row in document["table"]
        if row["key"].startswith("peers.") and row["value"] is not None
    ]
    return {OWN: own} | ({PEERS: peers} if peers else {})


def draw(document: Mapping[str, Any]) -> Image.Image:
    """Draw the results as an RGB picture."""
    sections = bars(document)
    heights = [HEADING + ROW * len(rows) + GAP for rows in sections.values()]
    image = Image.new("RGB", (WIDTH, MARGIN + TITLE + sum(heights)), PAPER)
    canvas = ImageDraw.Draw(image)
    canvas.text((MARGIN, MARGIN - 10), "Convscope: make bench", INK, _font(38))
    canvas.text((MARGIN, MARGIN + 44), _subtitle(document), SOFT, _font(21))
    _legend(canvas, MARGIN + 92)
    top = MARGIN + TITLE
    for (heading, rows), height in zip(sections.items(), heights, strict=True):
        canvas.text((MARGIN, top + 18), heading, INK, _font(27))
        _section(canvas, top + HEADING, rows, HEADS[heading])
        top += height
    return image


def _own(row: Mapping[str, Any]) -> Bar:
    key = row["key"]
    ends = sorted(_present(goodness(key, row.get("low")), goodness(key, row.get("high"))))
    low, high = ends if len(ends) == 2 else (None, None)
    cells = (*_cells(row), _in_words(row["desired"]))
    return Bar(key, row["reached"], goodness(key, row["value"]), low, high, cells)


def _peer(document: Mapping[str, Any], row: Mapping[str, Any]) -> Bar:
    _, peer, work = row["key"].split(".")
    label = f"{peer}, {'jpeg (peer with draft)' if work == 'jpeg_draft' else work}"
    samples = document["details"]["peers"][peer][f"{work}_per_second"]
    speeds = (f"{median(samples[side]['value']):,.0f}/s" for side in ("ours", "theirs"))
    cells = (*_cells(row), *speeds)
    return Bar(label, row["reached"], row["value"], row.get("low"), row.get("high"), cells)


def _cells(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the measured value, the spread and the required value."""
    digits = TARGETS[row["key"]].digits
    if row["value"] is None:
        return "not measured", "", _in_words(row["required"])
    low, high = row["low"], row["high"]
    spread = "" if low is None else f"{low:,.{digits}f} to {high:,.{digits}f}"
    return f"{row['value']:,.{digits}f}", spread, _in_words(row["required"])


def _in_words(condition: str) -> str:
    """Replace the signs, which Pillow's default font lacks."""
    return condition.replace("≥", "min.").replace("≤", "max.")


def _present(*values: float | None) -> list[float]:
    return [value for value in values if value is not None]


def _subtitle(document: Mapping[str, Any]) -> str:
    machine, versions = document["machine"], document["versions"]
    return (
        f"{machine['cores']} cores of {machine['cpu']}; ONNX Runtime {versions['onnxruntime']}, "
        f"gRPC {versions['grpcio']}, Python {versions['python']}; {document['date'][:10]}"
    )


def _legend(canvas: ImageDraw.ImageDraw, top: float) -> None:
    left = float(MARGIN)
    for verdict, text in LEGEND.items():
        canvas.rounded_rectangle((left, top + 2, left + 22, top + 24), 5, COLORS[verdict])
        canvas.text((left + 32, top + 13), text, SOFT, _font(21), anchor="lm")
        left += 62 + canvas.textlength(text, _font(21))
    canvas.line((left, top + 13, left + 30, top + 13), INK, 2)
    canvas.text((left + 40, top + 13), "spread of the pairs", SOFT, _font(21), anchor="lm")


def _section(
    canvas: ImageDraw.ImageDraw, top: float, rows: list[Bar], heads: tuple[str, ...]
) -> None:
    height = ROW * len(rows)
    for index in range(0, len(rows), 2):
        y = top + index * ROW
        canvas.rectangle((MARGIN, y, WIDTH - MARGIN, y + ROW - 1), STRIPE)
    for head, column in zip(heads, COLUMNS, strict=False):
        canvas.text((_x(HIGH) + column, top - 14), head, SOFT, _font(19), anchor="rs")
    for tick in TICKS:
        x = _x(tick)
        canvas.line((x, top - 6, x, top + height), GRID, 2)
        canvas.text((x, top - 14), f"{tick:g}", SOFT, _font(19), anchor="ms")
    for index, bar in enumerate(rows):
        _row(canvas, top + index * ROW + ROW / 2, bar)
    canvas.line((_x(1), top - 6, _x(1), top + height), INK, 3)


def _row(canvas: ImageDraw.ImageDraw, middle: float, bar: Bar) -> None:
    canvas.text((_x(LOW) - 20, middle), bar.label, INK, _font(21), anchor="rm")
    for index, (cell, column) in enumerate(zip(bar.cells, COLUMNS, strict=False)):
        place = (_x(HIGH) + column, middle)
        canvas.text(place, cell, SOFT if index else INK, _font(21), anchor="rm")
    if bar.value is None:
        return
    left, right = sorted((_x(1.0), _x(bar.value)))
    box = (left, middle - BAR / 2, max(right, left + 4), middle + BAR / 2)
    canvas.rectangle(box, COLORS.get(bar.verdict, SOFT))
    if bar.low is not None and bar.high is not None:
        ends = _x(bar.low), _x(bar.high)
        canvas.line((ends[0], middle, ends[1], middle), INK, 2)
        for x in ends:
            canvas.line((x, middle - 6, x, middle + 6), INK, 2)


def _x(value: float) -> float:
    """Return the horizontal place of a value; those beyond the axis are at its ends."""
    left, right = MARGIN + LABEL_WIDTH, WIDTH - MARGIN - TEXT_WIDTH
    share = math.log(min(max(value, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    return left + share * (right - left)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
