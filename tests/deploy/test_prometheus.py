"""A real Prometheus scrapes a real server under load: every expression returns data."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from support.server import ServerProcess, serving
from support.web import over_http

from deploy.monitoring.alerts import alerts
from deploy.monitoring.objectives import Objectives
from deploy.monitoring.prometheus import Prometheus, running_prometheus
from deploy.monitoring.rules import rule_groups
from deploy.panels import panel_queries
from deploy.traffic import send_traffic, write_mixed_repository

DEADLINE_SECONDS = 60
PAUSE_SECONDS = 0.2

pytestmark = [
    pytest.mark.slow(seconds=3),
    pytest.mark.one_transport("runs queries; the differential tests compare the metrics of calls"),
]


@dataclass(frozen=True)
class Watched:
    """A server under load, and the Prometheus that scrapes it every second."""

    server: ServerProcess
    prometheus: Prometheus
    channel: grpc.Channel

    def send_until(self, condition: Callable[[], bool]) -> bool:
        """Send requests until a condition holds, and return whether it did in time."""
        give_up_at = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < give_up_at:
            send_traffic(self.channel, alias="champion")
            if condition():
                return True
            time.sleep(PAUSE_SECONDS)
        return False

    def without_data(self, expressions: dict[str, str]) -> dict[str, str]:
        """Send requests until every expression returns a number, and return those that don't."""
        missing = dict(expressions)

        def look() -> bool:
            for name, expression in list(missing.items()):
                if numbers(self.prometheus.query(expression)):
                    del missing[name]
            return not missing

        self.send_until(look)
        return missing


@pytest.fixture(scope="module")
def watched(
    root: Path, prometheus_tools: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    repository = tmp_path_factory.mktemp("repository")
    write_mixed_repository(repository)
    home = tmp_path_factory.mktemp("prometheus")
    flags = (
        *("--versions", "2", "--no-strict-readiness"),
        *(
            "--provider",
            "cuda,cpu",
            "--allow-fallback",
        ),  # always a fallback, because the tests run without a GPU wheel
        *("--repository-cache", str(home / "cache")),
    )
    with over_http(repository) as url, serving(url, *flags) as server:
        config = write_config(root, home, server)
        with (
            running_prometheus(prometheus_tools / "prometheus", config, home / "data") as started,
            grpc.insecure_channel(server.target) as channel,
        ):
            yield Watched(server, started, channel)


def write_config(root: Path, home: Path, server: ServerProcess) -> Path:
    """Write the committed configuration and rules for this server, with short intervals."""
    config: dict[str, Any] = yaml.safe_load((root / "deploy/prometheus/prometheus.yml").read_text())
    second = ("scrape_interval", "scrape_timeout", "evaluation_interval")
    config["global"] = dict.fromkeys(config["global"], "1s")
    assert set(config["global"]) == set(second)
    address = server.metrics_url.removeprefix("http://").removesuffix("/metrics")
    config["scrape_configs"][0]["static_configs"] = [{"targets": [address]}]
    for name in config["rule_files"]:
        (home / name).write_text((root / "deploy/prometheus" / name).read_text())
    path = home / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def numbers(answer: list[dict[str, Any]]) -> list[float]:
    values = [float(series["value"][1]) for series in answer]
    return [value for value in values if math.isfinite(value)]


def test_every_panel_has_data(watched: Watched, dashboards: dict[str, Any]) -> None:
    queries = list(panel_queries(dashboards))
    assert watched.without_data({q.name: q.expression for q in queries}) == {}
    for query in queries:
        labels = [set(series["metric"]) for series in watched.prometheus.query(query.expression)]
        assert all(query.labels <= one for one in labels), query.name
        if "ALERTS" not in query.expression:  # test_rules.py checks the labels of ALERTS
            assert query.columns <= set().union(*labels), query.name


def test_the_model_variable_lists_models(watched: Watched, dashboards: dict[str, Any]) -> None:
    assert watched.send_until(lambda: bool(watched.prometheus.query("convscope_model_info")))
    for dashboard in dashboards.values():
        variables = {v["name"]: v for v in dashboard["templating"]["list"]}
        assert variables["model"]["definition"] == "label_values(convscope_model_info, model)"
    listed = watched.prometheus.query("group by (model) (convscope_model_info)")
    assert {series["metric"]["model"] for series in listed} == {"tiny", "signal"}


def test_every_recording_rule_records(watched: Watched, objectives: Objectives) -> None:
    rules = [rule for group in rule_groups(objectives)["groups"] for rule in group["rules"]]
    recorded = {rule["record"]: rule["record"] for rule in rules if "record" in rule}
    assert len(recorded) == 5 * len(objectives.windows)
    assert watched.without_data(recorded) == {}


def test_every_alert_compares_existing_data(watched: Watched, objectives: Objectives) -> None:
    """Check the values: the comparisons themselves are empty while no alert fires."""
    values = {
        f"{alert.name} {index}": condition.value
        for alert in alerts(objectives)
        for index, condition in enumerate(alert.conditions)
    }
    assert watched.without_data(values) == {}


def test_prometheus_evaluates_every_rule_without_errors(watched: Watched) -> None:
    def all_evaluated() -> bool:
        return all(rule["health"] != "unknown" for rule in watched.prometheus.rules())

    assert watched.send_until(all_evaluated)
    for rule in watched.prometheus.rules():
        assert rule["health"] == "ok", rule


def test_bad_bundle_and_fallback_raise_their_alerts_and_nothing_else(
    watched: Watched,
) -> None:
    def raised() -> dict[str, list[dict[str, Any]]]:
        rules = [rule for rule in watched.prometheus.rules() if rule["type"] == "alerting"]
        return {rule["name"]: rule["alerts"] for rule in rules if rule["alerts"]}

    expected = {"ConvscopeModelLoadFailed", "ConvscopeProviderFellBack"}
    assert watched.send_until(lambda: expected <= raised().keys())
    (rejected,) = raised()["ConvscopeModelLoadFailed"]
    assert (
        rejected["labels"].items()
        >= {
            "model": "broken",
            "version": "1",
            "reason": "hash",
            "severity": "ticket",
        }.items()
    )
    summary = "broken v1 was rejected by the check 'hash'."
    assert rejected["annotations"]["summary"] == summary
    # This test doesn't check how fast a busy machine responds.
    assert set(raised()) - {"ConvscopeLatencyBudgetBurn"} == expected


def test_exemplars_lead_from_the_latency_to_traces(
    root: Path, prometheus_tools: Path, tmp_path: Path
) -> None:
    repository, home = tmp_path / "models", tmp_path / "prometheus"
    home.mkdir()
    write_mixed_repository(repository)
    flags = (
        "--no-strict-readiness",
        "--otlp-endpoint",
        "http://127.0.0.1:9",
    )  # nothing listens on this port
    with serving(repository, *flags) as server:
        config = write_config(root, home, server)
        with (
            running_prometheus(prometheus_tools / "prometheus", config, home / "data") as started,
            grpc.insecure_channel(server.target) as channel,
        ):
            watched, begun = Watched(server, started, channel), time.time()

            def traces() -> set[str]:
                expression = "grpc_server_handling_seconds_bucket"
                found = started.exemplars(expression, begun, time.time() + 60)
                return {exemplar["labels"]["trace_id"] for exemplar in found}

            assert watched.send_until(lambda: bool(traces()))
            traces_seen = traces()
    logged = {event.get("trace_id") for event in server.log}
    assert traces_seen <= logged
