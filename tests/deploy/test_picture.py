"""The picture of the overview, drawn from the dashboard's panels and recorded results."""

import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploy.monitoring.picture.page import box_of, draw
from deploy.monitoring.picture.units import formatted, ticks

START, STEP, MOMENTS = 1_700_000_000.0, 2, 30
GREEN, TOLERANCE = (0x73, 0xBF, 0x69), 12


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (0.0123, "s", None, "12.3 ms"),
        (2.5, "s", None, "2.5 s"),
        (150, "s", None, "2.5 min"),
        (0.99951, "percentunit", 2, "99.95%"),
        (41.234, "reqps", 1, "41.2 req/s"),
        (1234, "short", None, "1.23K"),
        (0, "short", None, "0"),
        (200 * 2**20, "bytes", None, "200 MiB"),
        (float("nan"), "s", None, "NaN"),
    ],
    ids=range(9),
)
def test_numbers_are_formatted_as_in_grafana(
    value: float, unit: str, decimals: int | None, text: str
) -> None:
    assert formatted(value, unit, decimals) == text


@pytest.mark.parametrize("high", [0.003, 0.7, 1, 42, 999])
def test_an_axis_reaches_just_above_what_it_shows(high: float) -> None:
    levels = ticks(high)
    assert levels[0] == 0
    assert levels[-2] < high <= levels[-1]
    assert 2 < len(levels) < 8


def recording(dashboard: dict[str, Any], *, answered: bool) -> dict[str, Any]:
    """Make a recording of a dashboard with a rising line for each query."""

    def answer(target: dict[str, Any]) -> list[dict[str, Any]]:
        if not answered:
            return []
        labels = dict.fromkeys(re.findall(r"{{(\w+)}}", target["legendFormat"]), "some")
        steepness = ord(target["refId"]) - ord("A") + 1  # no line hides another
        values = [[START + STEP * i, str(i * steepness)] for i in range(MOMENTS)]
        return [{"metric": labels, "values": values}]

    panels = [
        {"panel": panel, "answers": [answer(target) for target in panel.get("targets") or []]}
        for panel in dashboard["panels"]
    ]
    end = START + STEP * MOMENTS
    return {"title": dashboard["title"], "start": START, "end": end, "panels": panels}


def test_every_panel_is_drawn_at_its_place_in_the_grid(dashboards: dict[str, Any]) -> None:
    dashboard = dashboards["overview"]
    drawn = draw(recording(dashboard, answered=True))
    empty = draw(recording(dashboard, answered=False))
    assert drawn.size == empty.size
    for panel in dashboard["panels"]:
        if panel["type"] == "timeseries":
            assert greens(drawn, panel) > 100 > greens(empty, panel) == 0, panel["title"]


def greens(picture: Image.Image, panel: dict[str, Any]) -> int:
    """Count the pixels of a panel that have the color of the first line."""
    pixels = np.asarray(picture.crop(box_of(panel["gridPos"]))).astype(int)  # [H, W, 3]
    return int((np.abs(pixels - GREEN) < TOLERANCE).all(axis=2).sum())
