"""Draw the whole dashboard: a heading, and the panels in Grafana's grid."""

import time
from typing import Any

from PIL import Image

from deploy.monitoring.picture.canvas import Box, Canvas
from deploy.monitoring.picture.charts import INK, SOFT, Span, draw_panel

__all__ = ["LABEL", "box_of", "draw"]

LABEL = "Drawn from Prometheus's query results; not a screenshot of Grafana"

_WIDTH, _MARGIN, _GAP = 1680, 16, 8
_COLUMNS, _UNIT = 24, 36
_HEADING = 74


def draw(recorded: dict[str, Any]) -> Image.Image:
    """Draw the recording of `recording.record` as an RGB picture."""
    panels = [entry["panel"] for entry in recorded["panels"]]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    canvas = Canvas(_WIDTH, _HEADING + rows * _UNIT + _MARGIN, "#111217")
    span = Span(recorded["start"], recorded["end"])
    canvas.text((_MARGIN, 14), recorded["title"], INK, 22)
    canvas.text((_MARGIN, 46), f"{LABEL}. {_when(span)}", SOFT, 13)
    for entry in recorded["panels"]:
        box = box_of(entry["panel"]["gridPos"])
        if entry["panel"]["type"] == "row":
            canvas.text(
                (box[0] + 2, (box[1] + box[3]) / 2), entry["panel"]["title"], INK, 15, anchor="lm"
            )
        else:
            draw_panel(canvas, box, entry["panel"], entry["answers"], span)
    return canvas.picture()


def _when(span: Span) -> str:
    start, end = (time.strftime("%H:%M:%S", time.gmtime(t)) for t in (span.start, span.end))
    day = time.strftime("%Y-%m-%d", time.gmtime(span.start))
    return f"{day}, {start} to {end} UTC."


def box_of(place: dict[str, int]) -> Box:
    """Return the box in the picture of a place in Grafana's grid of 24 columns."""
    column = (_WIDTH - 2 * _MARGIN + _GAP) / _COLUMNS
    left, top = _MARGIN + place["x"] * column, _HEADING + place["y"] * _UNIT
    return left, top, left + place["w"] * column - _GAP, top + place["h"] * _UNIT - _GAP
