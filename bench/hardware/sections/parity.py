"""How far the provider's results differ from those of the CPU, with and without TF32."""

from collections.abc import Mapping
from typing import Any

from bench.hardware.bundles import Tested, find
from bench.hardware.check import Check, Results, attempt
from bench.hardware.sessions import differences, graph_with_maps, open_as_server
from convscope.server.errors import BundleRejectedError
from convscope.server.runtime.providers import CPU

__all__ = ["run"]

BATCH = 8
SECONDS = 10.0
# Relative to the largest value of an output. TF32 has 10 bits of mantissa instead of 23.
LIMIT, TF32_LIMIT = 1e-3, 2e-2

_TF32: Mapping[str, Mapping[str, str]] = {
    "tf32": {"use_tf32": "1"},
    "no_tf32": {"use_tf32": "0"},
}


def run(check: Check, results: Results) -> None:
    """Compare all outputs of each bundle."""
    variants = _TF32 if check.provider == "cuda" else {"default": {}}
    compared: dict[str, Any] = {}
    results["bundles"] = compared
    for tested in check.while_time(find(check), SECONDS if check.on_gpu else 1.0, results):
        with attempt(tested.name, results):
            compared[tested.name] = _compare(tested, check.provider, variants)
        for variant, report in compared.get(tested.name, {}).items():
            if not _is_close(report, TF32_LIMIT if variant == "tf32" else LIMIT):
                why = report.get("rejected", "its results differ from the CPU's")
                problem = f"{tested.name} ({variant}): {why}"
                results.setdefault("problems", []).append(problem)


def _compare(
    tested: Tested, provider: str, variants: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    graph, inputs = graph_with_maps(tested), tested.inputs(BATCH)
    expected = open_as_server(graph, CPU).run(tested.outputs, inputs)
    reports: dict[str, Any] = {}
    for variant, options in variants.items():
        try:
            found = open_as_server(graph, provider, options).run(tested.outputs, inputs)
        except BundleRejectedError as error:
            reports[variant] = {"rejected": str(error)}
        else:
            reports[variant] = differences(tested.outputs, found, expected)
    return reports


def _is_close(report: Mapping[str, Any], limit: float) -> bool:
    return bool(report.get("finite")) and report["largest"] <= limit
