"""Record the results of a dashboard's queries from a real Prometheus and server under load."""

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from bench.servers import serving
from deploy.monitoring.files import DEPLOY
from deploy.monitoring.picture.load import PHASES, apply_load
from deploy.monitoring.prometheus import Prometheus, find_tools, running_prometheus

__all__ = ["RecordingError", "record"]

SCRAPE_SECONDS = 2
# Grafana's $__rate_interval is at least four scrapes.
RATE_INTERVAL = f"{4 * SCRAPE_SECONDS}s"
# A busy machine may miss a few scrapes, but not a whole phase.
_ENOUGH_SCRAPES = 0.9


class RecordingError(Exception):
    """The recording has gaps, and a picture of it would be misleading."""


def record(models: Path, dashboard: Path) -> dict[str, Any]:
    """Serve a copy of the models under load, and run the dashboard's queries on Prometheus.

    Returns:
        The dashboard's title, the Unix times `start` and `end`, and under `panels` each panel
        with the results of its queries.

    Raises:
        BenchError: The server did not become ready.
        RecordingError: Too many scrapes were missed.
        ToolsError: Prometheus is not available.
    """
    shown = json.loads(dashboard.read_text())
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        repository = home / "models"
        shutil.copytree(models, repository)
        with serving(repository, tuning_cache=home / "tuning.json") as server:
            config = _write_config(home, server.metrics_url)
            binary = find_tools() / "prometheus"
            with running_prometheus(binary, config, home / "data") as prometheus:
                start = time.time()
                apply_load(server.target, PHASES, lambda: _publish_broken(repository))
                end = time.time()
                _check_scrapes(prometheus, end - start)
                return _ask(prometheus, shown, start, end)


def _publish_broken(repository: Path) -> None:
    """Publish a second version whose graph doesn't match the hash in its manifest."""
    incoming = repository.parent / "incoming"
    shutil.copytree(repository / "digits" / "1", incoming)
    manifest = incoming / "manifest.json"
    content = json.loads(manifest.read_text())
    content["version"] = 2
    manifest.write_text(json.dumps(content))
    graph = incoming / "model.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    incoming.rename(repository / "digits" / "2")


def _write_config(home: Path, metrics_url: str) -> Path:
    """Write the committed configuration and rules for this server, with shorter intervals."""
    source = DEPLOY / "prometheus"
    config: dict[str, Any] = yaml.safe_load((source / "prometheus.yml").read_text())
    config["global"] = dict.fromkeys(config["global"], f"{SCRAPE_SECONDS}s")
    address = metrics_url.removeprefix("http://").removesuffix("/metrics")
    config["scrape_configs"][0]["static_configs"] = [{"targets": [address]}]
    for name in config["rule_files"]:
        shutil.copy(source / name, home)
    path = home / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def _check_scrapes(prometheus: Prometheus, seconds: float) -> None:
    (counted,) = prometheus.query(f"sum(sum_over_time(up[{round(seconds)}s]))")
    scrapes, wanted = float(counted["value"][1]), seconds / SCRAPE_SECONDS
    if scrapes < _ENOUGH_SCRAPES * wanted:
        raise RecordingError(
            f"Prometheus scraped the server {scrapes:.0f} times instead of {wanted:.0f}; "
            "record it again while the machine is idle"
        )


def _ask(
    prometheus: Prometheus, dashboard: dict[str, Any], start: float, end: float
) -> dict[str, Any]:
    def answer(target: dict[str, Any]) -> list[dict[str, Any]]:
        expression = target["expr"].replace("$model", ".*")
        expression = expression.replace("$__rate_interval", RATE_INTERVAL)
        if target.get("instant"):
            return prometheus.query(expression)
        return prometheus.query_range(expression, start, end, SCRAPE_SECONDS)

    return {
        "title": dashboard["title"],
        "start": start,
        "end": end,
        "panels": [
            {"panel": panel, "answers": [answer(t) for t in panel.get("targets") or []]}
            for panel in dashboard["panels"]
        ],
    }
