"""What the lane expects of the way to an answer follows what became of the earlier ones."""

import pytest

from convscope.server.forecast import Forecast


def test_an_estimate_is_believed_until_something_is_known() -> None:
    assert Forecast().correct(0.2) == 0.2


def test_estimates_that_are_always_half_the_truth_are_doubled() -> None:
    forecast = Forecast()
    for _ in range(200):
        forecast.learn(0.1, 0.2)
    assert forecast.correct(0.1) == pytest.approx(0.2, rel=0.01)


def test_most_answers_come_within_the_corrected_estimate() -> None:
    forecast = Forecast()
    actual = [0.1, 0.2, 0.3, 0.4] * 100
    for seconds in actual:
        forecast.learn(0.1, seconds)
    in_time = sum(seconds <= forecast.correct(0.1) for seconds in actual)
    assert in_time >= 0.7 * len(actual)


def test_one_strange_answer_changes_little_and_none_is_forgotten_for_good() -> None:
    forecast = Forecast()
    forecast.learn(0.001, 3600.0)
    assert forecast.correct(1.0) < 1.5
    for _ in range(500):
        forecast.learn(0.1, 0.1)
    assert forecast.correct(1.0) == pytest.approx(1.0, rel=0.01)


def test_an_estimate_of_nothing_teaches_nothing() -> None:
    forecast = Forecast()
    forecast.learn(0.0, 1.0)
    assert forecast.correct(1.0) == 1.0
