"""What the lane expects of the way to an answer follows what became of the earlier ones."""

import pytest

from convscope.server.inference.latency import LatencyEstimator


def test_an_estimate_is_believed_until_something_is_known() -> None:
    assert LatencyEstimator().correct(0.2) == 0.2


def test_estimates_that_are_always_half_the_truth_are_doubled() -> None:
    latency = LatencyEstimator()
    for _ in range(200):
        latency.learn(0.1, 0.2)
    assert latency.correct(0.1) == pytest.approx(0.2, rel=0.01)


def test_most_answers_come_within_the_corrected_estimate() -> None:
    latency = LatencyEstimator()
    actual = [0.1, 0.2, 0.3, 0.4] * 100
    for seconds in actual:
        latency.learn(0.1, seconds)
    in_time = sum(seconds <= latency.correct(0.1) for seconds in actual)
    assert in_time >= 0.7 * len(actual)


def test_one_strange_answer_changes_little_and_none_is_forgotten_for_good() -> None:
    latency = LatencyEstimator()
    latency.learn(0.001, 3600.0)
    assert latency.correct(1.0) < 1.5
    for _ in range(500):
        latency.learn(0.1, 0.1)
    assert latency.correct(1.0) == pytest.approx(1.0, rel=0.01)


def test_an_estimate_of_nothing_teaches_nothing() -> None:
    latency = LatencyEstimator()
    latency.learn(0.0, 1.0)
    assert latency.correct(1.0) == 1.0
