"""Prometheus takes the configuration, scrapes a server and fills every panel."""

import math
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from support.server import ServerProcess

from deploy.prometheus_process import Prometheus, running_prometheus
from deploy.traffic import send_traffic

ATTEMPTS = 120


def queries(dashboard: dict[str, Any]) -> dict[str, str]:
    """Every query by its panel's title and its letter, with the variables filled in."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        .replace("$model", ".*")
        .replace("$__rate_interval", "20s")
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }


def check(tools: Path, what: str, path: Path) -> None:
    """Have promtool check a file."""
    command = [str(tools / "promtool"), "check", what, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_promtool_accepts_the_configuration(prometheus_tools: Path, root: Path) -> None:
    config = root / "deploy/prometheus/prometheus.yml"
    check(prometheus_tools, "config", config)


def test_promtool_accepts_every_query(
    prometheus_tools: Path, dashboard: dict[str, Any], tmp_path: Path
) -> None:
    rules = [
        {"record": "query:" + re.sub(r"\W", "_", name), "expr": expression}
        for name, expression in queries(dashboard).items()
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    check(prometheus_tools, "rules", path)


@pytest.mark.slow
def test_every_panel_shows_a_number(
    prometheus_tools: Path,
    dashboard: dict[str, Any],
    root: Path,
    tiny_server: ServerProcess,
    tmp_path: Path,
) -> None:
    address = tiny_server.metrics_url.removeprefix("http://").removesuffix("/metrics")
    text = (root / "deploy/prometheus/prometheus.yml").read_text()
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("server:8002", address))
    binary = prometheus_tools / "prometheus"
    empty = queries(dashboard)
    with (
        running_prometheus(binary, config, tmp_path / "data") as prometheus,
        grpc.insecure_channel(tiny_server.target) as channel,
    ):
        for _ in range(ATTEMPTS):
            send_traffic(channel)
            empty = {n: e for n, e in empty.items() if not shows_a_number(prometheus, e)}
            if not empty:
                break
            time.sleep(0.5)
    assert not empty


def shows_a_number(prometheus: Prometheus, expression: str) -> bool:
    values = [float(series["value"][1]) for series in prometheus.query(expression)]
    return any(math.isfinite(value) for value in values)
