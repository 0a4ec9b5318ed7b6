"""Averages that follow rises and falls at different speeds."""

import pytest

from convscope.server.inference.moving_average import MovingAverage


def test_the_first_value_is_the_average() -> None:
    average = MovingAverage(rise=0.1, fall=0.5)
    assert average.value == 0
    average.add(4.0)
    assert average.value == 4


def test_an_initial_average_is_moved_by_the_first_value() -> None:
    average = MovingAverage(rise=0.1, fall=0.5, initial=1.0)
    average.add(2.0)
    assert average.value == pytest.approx(1.1)


def test_rises_and_falls_have_their_own_weight() -> None:
    average = MovingAverage(rise=0.25, fall=0.5, initial=8.0)
    average.add(16.0)
    assert average.value == 10
    average.add(4.0)
    assert average.value == 7


def test_a_constant_series_is_its_own_average() -> None:
    average = MovingAverage(rise=0.1, fall=0.5)
    for _ in range(100):
        average.add(3.0)
    assert average.value == 3
