"""The dashboards are complete, laid out without overlap, and use the provisioned data source."""

from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.panels import panel_queries

NAMES = ("models", "overview", "process", "time")
Panel = dict[str, Any]


@pytest.fixture(params=NAMES)
def dashboard(request: pytest.FixtureRequest, dashboards: dict[str, Any]) -> dict[str, Any]:
    """Each dashboard in turn."""
    found: dict[str, Any] = dashboards[request.param]
    return found


def shown(dashboard: dict[str, Any]) -> list[Panel]:
    """Return the panels other than headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_these_are_all(dashboards: dict[str, Any]) -> None:
    assert tuple(dashboards) == NAMES
    assert len({dashboard["uid"] for dashboard in dashboards.values()}) == len(NAMES)


def test_every_panel_has_a_title_a_description_and_a_unit(dashboard: dict[str, Any]) -> None:
    for panel in shown(dashboard):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_ids_and_titles_are_unique(dashboard: dict[str, Any]) -> None:
    for key in ("id", "title"):
        counts = Counter(panel[key] for panel in dashboard["panels"])
        assert counts.most_common(1)[0][1] == 1, counts
    for panel in shown(dashboard):
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references), panel["title"]


def test_series_of_one_panel_have_different_legends(dashboard: dict[str, Any]) -> None:
    for panel in shown(dashboard):
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(legends)) == len(legends), panel["title"]
        assert all(legends) or panel["type"] in ("stat", "table"), panel["title"]


def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for _, place in places)
    for (title, a), (other, b) in combinations(places, 2):
        apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart_y = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart_x or apart_y, f"{title} overlaps {other}"


def test_every_query_goes_to_the_chosen_data_source(dashboard: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in shown(dashboard):
        assert panel["datasource"] == chosen, panel["title"]
        assert all(target["datasource"] == chosen for target in panel["targets"]), panel["title"]
    variables = {v["name"]: v for v in dashboard["templating"]["list"]}
    assert set(variables) == {"datasource", "model"}
    assert variables["model"]["datasource"] == chosen


def test_the_first_data_source_is_the_provisioned_one(
    dashboard: dict[str, Any], root: Path
) -> None:
    path = root / "deploy/grafana/provisioning/datasources/prometheus.yml"
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    variable = next(v for v in dashboard["templating"]["list"] if v["name"] == "datasource")
    assert variable["query"] == source["type"]
    assert variable["current"]["value"] == source["uid"]
    assert variable["current"]["text"] == source["name"]


def test_no_variable_is_left_unknown(dashboards: dict[str, Any]) -> None:
    """Prometheus would take `$anything` in a quoted condition for text, and find nothing."""
    queries = list(panel_queries(dashboards))
    assert queries
    assert [query.name for query in queries if "$" in query.expression] == []
