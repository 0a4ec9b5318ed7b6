"""A strict server loads all bundles: golden gates, the provider of each node, tuned settings."""

import json
from typing import Any

from bench.hardware.bundles import find
from bench.hardware.check import Check, Results, attempt
from bench.hardware.gpu import gpu_memory_mb
from bench.hardware.sessions import graph_with_maps, open_as_server
from bench.memory import resident_mb
from bench.servers import serving

__all__ = ["run"]

_EVENTS = {
    "model ready": "ready",
    "tuned": "tuned",
    "not tuned": "not_tuned",
    "no explanations": "no_explanations",
    "bundle rejected": "rejected",
}
_LEFT_OUT = frozenset({"event", "level", "timestamp", "model", "version", "logger"})


def run(check: Check, results: Results) -> None:
    """Start the server, and report what its log says about each bundle."""
    names = sorted(path.name for path in check.repository.iterdir())
    results["gpu_memory_mb_before"] = gpu_memory_mb()
    flags = ("--provider", check.provider, "--no-strict-readiness", "--preload-feature-maps")
    with serving(
        check.repository,
        *flags,
        "--no-access-log",
        tuning_cache=check.tuning_cache,
        seconds=check.left(),
        accept_rejections=True,
    ) as server:
        results["ready_seconds"] = server.ready_seconds
        results["gpu_memory_mb"] = gpu_memory_mb()
        results["server_memory_mb"] = resident_mb(server.process.pid)
        found = _read_events(server.process.first_lines())
    results["bundles"] = {name: found.get(name, {}) for name in names}
    failed = [name for name in names if "ready" not in results["bundles"][name]]
    results["passed"] = [name for name in names if name not in failed]
    if failed:
        results["problems"] = [f"{name} is not served by {check.provider}" for name in failed]
    _count_nodes(check, results)


def _read_events(lines: list[str]) -> dict[str, dict[str, Any]]:
    """Return by model and kind of event what the server logged."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and (kind := _EVENTS.get(event.get("event", ""))):
            kept = {key: value for key, value in event.items() if key not in _LEFT_OUT}
            found.setdefault(event["model"], {})[kind] = kept
    return found


def _count_nodes(check: Check, results: Results) -> None:
    """Report by bundle how many nodes run on which provider if the CPU may run the rest."""
    nodes: dict[str, Any] = {}
    results["nodes_with_fallback"] = nodes
    for tested in find(check):
        with attempt(tested.name, results):
            session = open_as_server(graph_with_maps(tested), check.provider, allow_fallback=True)
            nodes[tested.name] = session.nodes
