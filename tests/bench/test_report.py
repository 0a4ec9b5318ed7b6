"""The page of the results states what was measured and what was not."""

from typing import Any

from bench.report import page
from bench.sampling import Figure
from bench.targets import rows

FIGURES = {
    "tiny_vs_empty_rpc": Figure(
        2.5, 2.4, 2.8, {"ours": 84.6, "empty": 1230.0}, busy_generators={"ours": 0.97}
    ),
    "ready_seconds": Figure(0.9, 0.8, 1.1),
    "peers.triton.tiny": Figure(1.1, 0.9, 1.2),
}
PEER = {
    "distribution": "nvidia-pytriton",
    "version": "0.7.0",
    "protocol": "gRPC",
    "setting": "one instance per core",
    "not_run": {"jpeg": "no reply"},
}


def written(**changes: Any) -> str:
    document: dict[str, Any] = {
        "machine": {"cores": 2, "cpu": "CPU", "memory_gb": 25.3},
        "versions": {"python": "3", "onnxruntime": "1", "grpcio": "1"},
        "date": "2026-01-01T00:00:00",
        "git_commit": "0123456789abcdef",
        "git_dirty": False,
        "quick": False,
        "bench_seconds": 840,
        "table": rows(FIGURES),
        "details": {"peers": {"triton": PEER}},
        "failures": {"many_digits": "other programs used 37% of the machine"},
    }
    return page(document | changes)


def row_of(key: str) -> list[str]:
    (line,) = (line for line in written().splitlines() if line.startswith(f"| `{key}` |"))
    return [cell.strip() for cell in line.strip("|").split("|")][2:]


def test_a_row_states_targets_figure_spread_and_cpu_time() -> None:
    assert row_of("tiny_vs_empty_rpc") == [
        *("≥ 2", "≥ 2.7", "2.50", "2.40–2.80"),
        *("ours 85 µs, empty 1.2 ms", "yes"),
    ]
    assert row_of("ready_seconds") == ["≤ 1.5", "≤ 1", "0.90", "0.80–1.10", "", "yes, desired"]
    assert row_of("peers.triton.tiny")[-1] == "**no**"


def test_a_figure_that_was_not_measured_has_its_reason() -> None:
    assert row_of("many_digits") == ["≥ 0.5", "≥ 0.7", "–", "", "", "not measured"]
    assert "- `many_digits`: not measured: other programs used 37% of the machine" in written()
    assert "- triton, jpeg: not measured: no reply" in written()


def test_the_page_warns_of_a_load_generator_that_fills_a_core() -> None:
    assert "`tiny_vs_empty_rpc`, ours: the load generator used 97% of a core" in written()


def test_the_page_states_that_a_quick_run_means_nothing() -> None:
    assert "Its figures mean nothing" in written(quick=True)
    assert "Its figures mean nothing" not in written()
