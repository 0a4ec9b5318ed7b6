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
LABEL_WIDTH = 500
TEXT_WIDTH = 500
ROW = 42
BAR = 24
TITLE = 122
HEADING = 100
GAP = 36
LOW, HIGH = 0.25, 8.0
TICKS = (0.25, 0.5, 1, 2, 4, 8)

PAPER, INK, SOFT, GRID, STRIPE = "#ffffff", "#1f2430", "#6b7280", "#dfe3e8", "#f6f7f9"
COLORS = {"desired": "#1b7f5a", "yes": "#5fb894", "no": "#d9822b"}
LEGEND = {
    "desired": "reaches the desired value",
    "yes": "reaches the required value",
    "no": "misses it",
}
OWN = "Each figure relative to its required value: right of the line it is reached"
PEERS = "Calls per second relative to each peer: right of the line Convscope is faster"


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the plot.

    Args:
        label: The name of the figure.
        verdict: What the figure reaches; see `Target.verdict`.
        value: The length of the bar, 1 at the line; None if not measured.
        low: The worst pair on the same scale.
        high: The best pair on the same scale.
        text: The text next to the bar.
    """

    label: str
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    text: str


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
        _section(canvas, top + HEADING, rows)
        top += height
    return image


def _own(row: Mapping[str, Any]) -> Bar:
    key, required = row["key"], f"required {_in_words(row['required'])}"
    ends = sorted(_present(goodness(key, row.get("low")), goodness(key, row.get("high"))))
    low, high = ends if len(ends) == 2 else (None, None)
    text = f"{_number(row)}   {required}"
    return Bar(key, row["reached"], goodness(key, row["value"]), low, high, text)


def _peer(document: Mapping[str, Any], row: Mapping[str, Any]) -> Bar:
    _, peer, work = row["key"].split(".")
    label = f"{peer}  {'jpeg, peer with draft' if work == 'jpeg_draft' else work}"
    text = f"{_number(row)}   {_speeds(document, peer, work)}"
    return Bar(label, row["reached"], row["value"], row.get("low"), row.get("high"), text)


def _speeds(document: Mapping[str, Any], peer: str, work: str) -> str:
    """Format the median calls per second of both sides."""
    about = document.get("details", {}).get("peers", {}).get(peer, {})
    samples = about.get(f"{work}_per_second")
    if samples is None:
        return ""
    ours, theirs = (median(samples[side]["value"]) for side in ("ours", "theirs"))
    return f"{ours:,.0f}/s vs. {theirs:,.0f}/s"


def _number(row: Mapping[str, Any]) -> str:
    digits = TARGETS[row["key"]].digits
    return "not measured" if row["value"] is None else f"{row['value']:,.{digits}f}"


def _in_words(condition: str) -> str:
    """Replace the signs, which Pillow's default font lacks."""
    return condition.replace("≥", "at least").replace("≤", "at most")


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
    canvas.text((left + 40, top + 13), "smallest to largest pair", SOFT, _font(21), anchor="lm")


def _section(canvas: ImageDraw.ImageDraw, top: float, rows: list[Bar]) -> None:
    height = ROW * len(rows)
    for index in range(0, len(rows), 2):
        y = top + index * ROW
        canvas.rectangle((MARGIN, y, WIDTH - MARGIN, y + ROW - 1), STRIPE)
    for tick in TICKS:
        x = _x(tick)
        canvas.line((x, top - 6, x, top + height), GRID, 2)
        canvas.text((x, top - 10), f"{tick:g}", SOFT, _font(19), anchor="mb")
    for index, bar in enumerate(rows):
        _row(canvas, top + index * ROW + ROW / 2, bar)
    canvas.line((_x(1), top - 6, _x(1), top + height), INK, 3)


def _row(canvas: ImageDraw.ImageDraw, middle: float, bar: Bar) -> None:
    canvas.text((_x(LOW) - 20, middle), bar.label, INK, _font(21), anchor="rm")
    canvas.text((_x(HIGH) + 20, middle), bar.text, SOFT, _font(21), anchor="lm")
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
