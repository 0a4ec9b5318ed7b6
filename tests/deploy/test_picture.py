"""The picture of the overview: drawn from the dashboard's own panels and recorded answers."""

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
def test_a_number_is_written_as_in_grafana(
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
    """What would be recorded of a dashboard, with a line that rises for each query."""

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


def test_every_kind_of_panel_is_drawn_where_the_grid_has_it(dashboards: dict[str, Any]) -> None:
    dashboard = dashboards["overview"]
    drawn = draw(recording(dashboard, answered=True))
    empty = draw(recording(dashboard, answered=False))
    assert drawn.size == empty.size
    for panel in dashboard["panels"]:
        if panel["type"] == "timeseries":
            assert greens(drawn, panel) > 100 > greens(empty, panel) == 0, panel["title"]


def greens(picture: Image.Image, panel: dict[str, Any]) -> int:
    """The pixels of a panel that have the first line's colour."""
    pixels = np.asarray(picture.crop(box_of(panel["gridPos"]))).astype(int)  # [H, W, 3]
    return int((np.abs(pixels - GREEN) < TOLERANCE).all(axis=2).sum())
