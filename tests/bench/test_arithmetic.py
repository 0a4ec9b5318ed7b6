"""The arithmetic of the bench, because a wrong figure looks as plausible as a right one."""

import itertools
from statistics import mean

import pytest

from bench.context import interleave, ratio
from bench.errors import BenchError
from bench.loads import grpc_frame
from bench.memory import slope
from bench.openloop import arrivals, quantile
from bench.parsing import parse_h2load, parse_log, parse_metrics, steady_rate
from bench.report import merge
from bench.targets import TARGETS, Target, look_up, rows

SUMMARY = """
finished in 1.50s, 1248.67 req/s, 130.00KB/s
requests: 1873 total, 1937 started, 1873 done, 1870 succeeded, 3 failed, 1 errored, 2 timeout
status codes: 1870 2xx, 0 3xx, 1 4xx, 2 5xx
traffic: 195.01KB (199690) total, 30.00KB (30000) headers
"""


def test_only_successful_calls_count() -> None:
    answered = parse_h2load(SUMMARY, "")
    assert answered.succeeded == 1870
    assert answered.failed == 6


def test_output_without_a_summary_is_an_error() -> None:
    with pytest.raises(BenchError, match="no summary"):
        parse_h2load("h2load: could not connect", "")


def test_failed_calls_are_left_out_of_the_log() -> None:
    calls = parse_log("1000000\t200\t1500\n2\t503\t10\n3000000\t200\t2500\n")
    assert [call.seconds for call in calls] == [0.0015, 0.0025]
    assert [call.ended for call in calls] == [1.0015, 3.0025]


@pytest.mark.parametrize("offset", [0.0, 0.1, 0.19])
def test_the_rate_of_bursts_does_not_depend_on_the_window(offset: float) -> None:
    ended = [burst * 0.2 + i * 1e-5 for burst in range(50) for i in range(8)]
    window = [time for time in ended if offset <= time < offset + 5]
    assert steady_rate(window) == pytest.approx(40, rel=1e-3)


def test_the_rate_of_a_steady_flow_equals_its_count() -> None:
    assert steady_rate([i / 1000 for i in range(3000)]) == pytest.approx(1000, rel=5e-3)


def test_no_calls_or_a_single_burst_have_no_rate() -> None:
    assert steady_rate([]) == 0
    assert steady_rate([1.0, 1.001]) == 0


def test_metrics_are_found_by_name_and_labels() -> None:
    text = '# HELP calls x\ncalls_total{code="OK",model="a \\"b\\""} 3.0\nup 1\n'
    samples = parse_metrics(text)
    assert samples["calls_total", frozenset({("code", "OK"), ("model", 'a \\"b\\"')})] == 3
    assert samples["up", frozenset()] == 1


def test_a_grpc_frame_states_the_length() -> None:
    assert grpc_frame(b"abc") == b"\x00\x00\x00\x00\x03abc"


def test_arrivals_have_the_rate_and_irregular_gaps() -> None:
    due = arrivals(rate=500, seconds=10, seed=1)
    gaps = [b - a for a, b in itertools.pairwise(due)]
    assert len(due) == pytest.approx(5000, rel=0.05)
    assert due == sorted(due)
    assert 0 <= due[0] < due[-1] < 10
    assert mean(gaps) == pytest.approx(1 / 500, rel=0.05)
    assert len(set(gaps)) > 4000


def test_arrivals_depend_on_the_seed() -> None:
    assert arrivals(100, 1, seed=7) == arrivals(100, 1, seed=7)
    assert arrivals(100, 1, seed=7) != arrivals(100, 1, seed=8)


def test_the_quantile_of_no_values_is_none() -> None:
    assert quantile([], 0.99) is None
    assert quantile([1.0, 2.0, 3.0], 0.5) == 2.0


def test_the_slope_of_a_line_is_found() -> None:
    assert slope([0, 1, 2, 3], [5, 7, 9, 11]) == pytest.approx(2)
    assert slope([0, 1, 2], [4, 4, 4]) == 0


def test_sides_are_measured_alternately() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> float:
        order.append(name)
        return value

    samples = interleave(3, ours=lambda: side("a", 6.0), theirs=lambda: side("b", 3.0))
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert ratio(samples, "ours", "theirs") == 2


def test_one_bad_repetition_does_not_move_a_ratio() -> None:
    assert ratio({"a": [10.0, 1.0, 10.0], "b": [5.0, 5.0, 500.0]}, "a", "b") == 2


@pytest.mark.parametrize(
    ("target", "value", "reached"),
    [
        (Target("", at_least=0.97), 0.97, True),
        (Target("", at_least=0.97), 0.969, False),
        (Target("", at_most=0.8), 0.8, True),
        (Target("", at_most=0.8), 0.81, False),
        (Target("", above=1), 1.0, False),
        (Target("", above=1), 1.01, True),
        (Target(""), 5.0, None),
        (Target("", at_least=1), None, False),
    ],
)
def test_a_target_is_reached_or_not(
    target: Target, value: float | None, reached: bool | None
) -> None:
    assert target.reached(value) is reached


def test_figures_are_found_by_their_dotted_keys() -> None:
    figures = {"jpeg_speedup": {"500x375": 1.2}, "tiny_vs_empty_rpc": 0.7, "peers": {"x": None}}
    assert look_up(figures, "jpeg_speedup.500x375") == 1.2
    assert look_up(figures, "tiny_vs_empty_rpc") == 0.7
    assert look_up(figures, "peers.x.tiny") is None
    assert look_up(figures, "peers.triton.tiny") is None


def test_every_key_has_a_row() -> None:
    assert [row["key"] for row in rows({})] == list(TARGETS)
    assert all(row["value"] is None for row in rows({}))


def test_merging_keeps_existing_figures() -> None:
    document = {"peers": {"a": {"tiny": 1}}}
    merge(document, {"peers": {"b": {"tiny": 2}}, "more": 3})
    assert document == {"peers": {"a": {"tiny": 1}, "b": {"tiny": 2}}, "more": 3}
