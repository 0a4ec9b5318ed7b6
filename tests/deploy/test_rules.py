"""The rules are valid, and promtool's unit tests raise each alert by its cause."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring.alerts import alerts
from deploy.monitoring.objectives import Objectives
from deploy.panels import panel_queries

UNIT_TESTS = Path(__file__).parent / "rules"
FILES = ("burn", "causes", "leak")


def promtool(tools: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [str(tools / "promtool"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def raised() -> dict[str, list[set[str]]]:
    """Return the labels of every alert that a unit test expects, by name."""
    found: dict[str, list[set[str]]] = {}
    for path in UNIT_TESTS.glob("*.yml"):
        for labels in re.findall(r"labels: 'ALERTS\{(.+)\}'", path.read_text()):
            (name,) = re.findall(r'alertname="(\w+)"', labels)
            found.setdefault(name, []).append(set(re.findall(r'(\w+)="', labels)))
    return found


def test_promtool_accepts_the_configuration_and_its_rules(
    prometheus_tools: Path, root: Path
) -> None:
    result = promtool(
        prometheus_tools, "check", "config", root / "deploy/prometheus/prometheus.yml"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"SUCCESS: \d+ rules found", result.stdout)


def test_these_are_all_unit_tests() -> None:
    assert sorted(path.stem for path in UNIT_TESTS.iterdir()) == sorted(FILES)


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize("name", FILES)
def test_each_alert_is_raised_by_its_cause_alone(prometheus_tools: Path, name: str) -> None:
    result = promtool(prometheus_tools, "test", "rules", UNIT_TESTS / f"{name}.yml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_changed_threshold_fails_its_unit_test(
    prometheus_tools: Path, root: Path, tmp_path: Path
) -> None:
    """The unit tests can fail: with a bound of 95%, a queue at 94% raises no alert."""
    rules = (root / "deploy/prometheus/rules.yml").read_text()
    altered = rules.replace("convscope_queue_fill_ratio > 0.8", "convscope_queue_fill_ratio > 0.95")
    assert altered != rules
    (tmp_path / "rules.yml").write_text(altered)
    text = (UNIT_TESTS / "causes.yml").read_text()
    (tmp_path / "causes.yml").write_text(
        text.replace("../../../deploy/prometheus/rules.yml", "rules.yml")
    )
    result = promtool(prometheus_tools, "test", "rules", tmp_path / "causes.yml")
    assert result.returncode == 1
    assert "ConvscopeQueueNearBound" in result.stdout + result.stderr


def test_every_alert_is_raised_in_a_unit_test(objectives: Objectives) -> None:
    assert set(raised()) == {alert.name for alert in alerts(objectives)}


def test_the_text_of_an_alert_names_only_labels_that_it_has(objectives: Objectives) -> None:
    labels = raised()
    for alert in alerts(objectives):
        named = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
        assert all(named <= one for one in labels[alert.name]), alert.name


def test_the_table_of_alerts_has_columns_for_labels_that_alerts_have(
    dashboards: dict[str, Any],
) -> None:
    (query,) = (q for q in panel_queries(dashboards) if q.columns and "ALERTS" in q.expression)
    known = {label for alert in raised().values() for labels in alert for label in labels}
    assert query.columns <= known


def test_every_alert_states_the_problem_and_the_first_step(root: Path) -> None:
    rules: dict[str, Any] = yaml.safe_load((root / "deploy/prometheus/rules.yml").read_text())
    alerting = [r for group in rules["groups"] for r in group["rules"] if "alert" in r]
    assert alerting
    for rule in alerting:
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert rule["annotations"]["summary"].endswith("."), rule["alert"]
        first_step = re.search(r"`[^`]+`", rule["annotations"]["description"])
        assert first_step, f"{rule['alert']} names no command or file to look at"
