"""Draw the results: each figure relative to its target, and Convscope relative to each peer."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from bench.targets import PEER_NAMES, TARGETS

__all__ = ["Bar", "bars", "draw", "goodness"]

# Twice the size at which Markdown pages show the picture.
WIDTH = 1680
MARGIN = 48
LABEL_WIDTH = 520
TEXT_WIDTH = 400
ROW = 44
BAR = 26
HEADING = 112
LOW, HIGH = 0.1, 10.0
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)

PAPER, INK, SOFT, GRID = "#ffffff", "#1f2430", "#6b7280", "#e5e7eb"
GOOD, BAD, SECONDARY = "#2a9d6f", "#d9822b", "#9db8ac"


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the plot.

    Args:
        label: The name of the figure.
        value: The figure relative to its target, 1 if it just reaches it; None if not measured.
        text: The text next to the bar.
        colour: The color of the bar.
    """

    label: str
    value: float | None
    text: str
    colour: str


def goodness(row: Mapping[str, Any]) -> float | None:
    """Return a figure relative to its target. A value above 1 is better than the target."""
    target, value = TARGETS[row["key"]], row["value"]
    if value is None:
        return None
    if target.at_most is not None:
        return math.inf if value <= 0 else target.at_most / value
    floor = target.at_least if target.at_least is not None else target.above
    return value / floor if floor else None


def bars(document: Mapping[str, Any]) -> dict[str, list[Bar]]:
    """Return the rows of the plot by heading."""
    rows = {row["key"]: row for row in document["table"]}
    own = [
        _bar(row, key, f"{_number(row)}   must be {_in_words(row['target'])}")
        for key, row in rows.items()
        if not key.startswith("peers.") and row["target"] != "recorded"
    ]
    sections = {"Figure relative to its target: right of the line the target is reached": own}
    others = list(_peer_bars(document, rows))
    if any(bar.value is not None for bar in others):
        sections["Convscope relative to the peer: right of the line Convscope is faster"] = others
    return sections


def draw(document: Mapping[str, Any]) -> Image.Image:
    """Draw the results as an RGB picture."""
    sections = bars(document)
    height = 2 * MARGIN + 74 + sum(HEADING + ROW * len(rows) + 40 for rows in sections.values())
    image = Image.new("RGB", (WIDTH, height), PAPER)
    canvas = ImageDraw.Draw(image)
    canvas.text((MARGIN, MARGIN - 8), "Convscope: make bench", INK, _font(38))
    canvas.text((MARGIN, MARGIN + 44), _subtitle(document), SOFT, _font(22))
    top = MARGIN + 74
    for heading, rows in sections.items():
        canvas.text((MARGIN, top + 28), heading, INK, _font(28))
        _axis(canvas, top + HEADING, ROW * len(rows))
        for index, bar in enumerate(rows):
            _row(canvas, top + HEADING + index * ROW, bar)
        top += HEADING + ROW * len(rows) + 40
    return image


def _peer_bars(document: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Bar]:
    for peer in PEER_NAMES:
        for work in ("jpeg", "jpeg_draft", "tensor", "tiny"):
            row = rows[f"peers.{peer}.{work}"]
            secondary = work == "jpeg_draft"
            label = f"{peer}  {'jpeg, peer with draft' if secondary else work}"
            text = f"{_number(row)}   {_speeds(document, peer, work)}"
            yield Bar(label, row["value"], text, SECONDARY) if secondary else _bar(row, label, text)


def _speeds(document: Mapping[str, Any], peer: str, work: str) -> str:
    """Format both medians in replies per second."""
    peers = document.get("details", {}).get("peers", {})
    samples = peers.get(peer, {}).get(f"{work}_per_second")
    if samples is None:
        return ""
    ours, theirs = median(samples["ours"]), median(samples["theirs"])
    return f"{ours:,.0f}/s vs. {theirs:,.0f}/s"


def _bar(row: Mapping[str, Any], label: str, text: str) -> Bar:
    return Bar(label, goodness(row), text, GOOD if row["reached"] else BAD)


def _number(row: Mapping[str, Any]) -> str:
    digits = TARGETS[row["key"]].digits
    return "not measured" if row["value"] is None else f"{row['value']:,.{digits}f}"


def _in_words(target: str) -> str:
    """Replace the signs, which Pillow's default font lacks."""
    return target.replace("≥", "at least").replace("≤", "at most")


def _subtitle(document: Mapping[str, Any]) -> str:
    machine, versions = document["machine"], document["versions"]
    return (
        f"{machine['cores']} cores of {machine['cpu']}; ONNX Runtime {versions['onnxruntime']}, "
        f"gRPC {versions['grpcio']}, Python {versions['python']}; {document['date'][:10]}"
    )


def _axis(canvas: ImageDraw.ImageDraw, top: float, height: float) -> None:
    for tick in TICKS:
        x = _x(tick)
        one = tick == 1
        canvas.line((x, top - 8, x, top + height), INK if one else GRID, 3 if one else 2)
        canvas.text((x, top - 12), f"{tick:g}", SOFT, _font(19), anchor="mb")


def _row(canvas: ImageDraw.ImageDraw, top: float, bar: Bar) -> None:
    middle = top + ROW / 2
    canvas.text((_x(LOW) - 20, middle), bar.label, INK, _font(22), anchor="rm")
    canvas.text((_x(HIGH) + 20, middle), bar.text, SOFT, _font(22), anchor="lm")
    if bar.value is None:
        return
    ends = sorted((_x(1.0), _x(min(max(bar.value, LOW), HIGH))))
    box = (ends[0], middle - BAR / 2, max(ends[1], ends[0] + 4), middle + BAR / 2)
    canvas.rounded_rectangle(box, 5, bar.colour)


def _x(value: float) -> float:
    left, right = MARGIN + LABEL_WIDTH, WIDTH - MARGIN - TEXT_WIDTH
    share = math.log(value / LOW) / math.log(HIGH / LOW)
    return left + share * (right - left)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
