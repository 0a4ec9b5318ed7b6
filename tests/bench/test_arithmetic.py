"""The arithmetic of the bench, because a wrong figure looks as plausible as a right one."""

import itertools
from statistics import mean

import pytest

from bench.errors import BenchError
from bench.loads import grpc_frame
from bench.memory import slope
from bench.openloop import arrivals, quantile
from bench.parsing import parse_h2load, parse_log, parse_metrics, steady_rate
from bench.sampling import Figure, Sample, Samples, interleave
from bench.targets import TARGETS, Target, rows

SUMMARY = """
finished in 1.50s, 1248.67 req/s, 130.00KB/s
requests: 1873 total, 1937 started, 1873 done, 1870 succeeded, 3 failed, 1 errored, 2 timeout
status codes: 1870 2xx, 0 3xx, 1 4xx, 2 5xx
traffic: 195.01KB (199690) total, 30.00KB (30000) headers
"""


def test_only_successful_calls_count() -> None:
    answered = parse_h2load(SUMMARY)
    assert answered.succeeded == 1870
    assert answered.failed == 6


def test_output_without_a_summary_is_an_error() -> None:
    with pytest.raises(BenchError, match="no summary"):
        parse_h2load("h2load: could not connect")


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


def samples_of(**sides: list[float]) -> Samples:
    columns = zip(*sides.values(), strict=True)
    return Samples(
        [{n: Sample(v, 0.0) for n, v in zip(sides, values, strict=True)} for values in columns]
    )


def test_sides_are_measured_alternately() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> Sample:
        order.append(name)
        return Sample(value, others=0.0)

    sides = {"ours": lambda: side("a", 6.0), "theirs": lambda: side("b", 3.0)}
    samples = interleave(3, sides)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert samples.ratio("ours", "theirs") == Figure(2, low=2, high=2)


def test_a_ratio_is_the_median_of_the_pairs_with_their_spread() -> None:
    """A slow phase of the machine, the third pair, affects both sides and not the ratio."""
    samples = samples_of(a=[10.0, 12.0, 1.1], b=[5.0, 4.0, 0.5])
    assert samples.ratio("a", "b") == Figure(2.2, low=2, high=3)


def test_a_pair_is_measured_again_when_others_used_the_machine() -> None:
    others = iter([0.0, 0.3, 0.05, 0.1, 0.0, 0.0])  # of A B A B A B
    value = itertools.count(1)

    def side() -> Sample:
        return Sample(next(value), others=next(others))

    samples = interleave(2, {"a": side, "b": side})
    assert samples.values("a") == [3, 5]
    assert samples.discarded == [0.3]


def test_nothing_is_measured_while_others_use_the_machine() -> None:
    taken: list[str] = []

    def side() -> Sample:
        taken.append("a")
        return Sample(1.0, others=0.37)

    with pytest.raises(BenchError, match=r"other programs used 37% of the machine"):
        interleave(3, {"a": side})
    assert len(taken) == 4


def test_cpu_time_is_shown_for_each_side_of_a_ratio() -> None:
    pair = {"a": Sample(4.0, 0.0, cpu_us=30.0), "b": Sample(2.0, 0.0, cpu_us=60.0)}
    figure = Samples([pair]).ratio("a", "b")
    assert figure.cpu_us == {"a": 30, "b": 60}
    assert Samples([pair]).ratio("a", "b", lambda sample: sample.cpu_us).value == 0.5
    with pytest.raises(BenchError, match="nothing was measured for a or b"):
        samples_of(a=[1.0], b=[1.0]).ratio("a", "b", lambda sample: sample.cpu_us)


def test_a_load_generator_that_fills_a_core_is_reported() -> None:
    pair = {
        "a": Sample(4.0, 0.0, generator_cores=0.97),
        "b": Sample(2.0, 0.0, generator_cores=0.5),
    }
    assert Samples([pair]).ratio("a", "b").busy_generators == {"a": 0.97}


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        (Target("", at_least=0.97), 0.97, "yes"),
        (Target("", at_least=0.97), 0.969, "no"),
        (Target("", at_least=0.97, desired=0.99), 0.98, "yes"),
        (Target("", at_least=0.97, desired=0.99), 0.99, "desired"),
        (Target("", at_most=0.8), 0.8, "yes"),
        (Target("", at_most=0.8), 0.81, "no"),
        (Target("", at_most=0.8, desired=0.5), 0.5, "desired"),
        (Target(""), 5.0, ""),
        (Target("", at_least=1), None, "not measured"),
    ],
)
def test_a_target_is_reached_or_not(target: Target, value: float | None, verdict: str) -> None:
    assert target.verdict(value) == verdict


def test_every_key_has_a_row() -> None:
    assert [row["key"] for row in rows({})] == list(TARGETS)
    assert all(row["value"] is None for row in rows({}))


def test_a_row_states_both_targets_and_the_spread() -> None:
    table = {row["key"]: row for row in rows({"tiny_vs_empty_rpc": Figure(2.5, 2.4, 2.8)})}
    row = table["tiny_vs_empty_rpc"]
    assert (row["required"], row["desired"], row["reached"]) == ("≥ 2", "≥ 2.7", "yes")
    assert (row["low"], row["value"], row["high"]) == (2.4, 2.5, 2.8)
    assert table["ready_seconds"]["required"] == "≤ 1.5"
