"""The latency dashboard: it asks for what a real server has, and says what it shows."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from support.server import ServerProcess

from deploy.promql import grouping_labels, selectors
from deploy.traffic import send_traffic

Panel = dict[str, Any]


@pytest.fixture(scope="module")
def panels(dashboard: dict[str, Any]) -> list[Panel]:
    """The panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@pytest.fixture(scope="module")
def samples(tiny_server: ServerProcess) -> list[Sample]:
    """What a server says after some traffic."""
    with grpc.insecure_channel(tiny_server.target) as channel:
        send_traffic(channel)
    families = text_string_to_metric_families(tiny_server.metrics())
    return [sample for family in families for sample in family.samples]


def queries(panels: list[Panel]) -> Iterator[tuple[str, str, str]]:
    """The title, expression and legend of every query, with the variables filled in."""
    for panel in panels:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$model", ".*"), target["legendFormat"]


def test_a_server_has_every_metric_and_label(panels: list[Panel], samples: list[Sample]) -> None:
    for title, expression, _ in queries(panels):
        found = selectors(expression)
        assert found, title
        for selector in found:
            selected = selector.select(samples)
            assert selected, f"{title}: no server has {selector}"
            for sample in selected:
                assert grouping_labels(expression) <= set(sample.labels), title


def test_a_legend_names_labels_that_its_series_have(panels: list[Panel]) -> None:
    for title, expression, legend in queries(panels):
        named = set(re.findall(r"{{(\w+)}}", legend))
        assert named <= grouping_labels(expression), title


def test_the_model_variable_lists_models(dashboard: dict[str, Any], samples: list[Sample]) -> None:
    variables = {v["name"]: v for v in dashboard["templating"]["list"]}
    query = variables["model"]["query"]["query"]
    match = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
    assert match, query
    listed = {sample.labels[match[2]] for sample in samples if sample.name == match[1]}
    assert listed == {"tiny", "signal"}


def test_every_panel_says_what_it_shows_and_in_which_unit(panels: list[Panel]) -> None:
    for panel in panels:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_ids_and_titles_are_unique(dashboard: dict[str, Any]) -> None:
    for key in ("id", "title"):
        counts = Counter(panel[key] for panel in dashboard["panels"])
        assert counts.most_common(1)[0][1] == 1, counts
    for panel in dashboard["panels"]:
        references = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(references)) == len(references), panel["title"]


def test_panels_lie_beside_one_another(dashboard: dict[str, Any]) -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for _, place in places)
    for (title, a), (other, b) in combinations(places, 2):
        apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart_y = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart_x or apart_y, f"{title} overlaps {other}"


def test_every_query_goes_to_the_chosen_data_source(
    dashboard: dict[str, Any], panels: list[Panel]
) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels:
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
