"""The token buckets of callers, and what of them a reload keeps."""

import pytest

from convscope.server.errors import CallerLimitError
from convscope.server.frontend.access.caller import AccessCaller
from convscope.server.frontend.access.failures import MAX_ADDRESSES, FailureLimit
from convscope.server.frontend.access.policy import CallerRules
from convscope.server.frontend.access.rates import Rate


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_single_images_are_an_exact_rate() -> None:
    clock = Clock()
    rate = Rate(10, burst_seconds=0.5, time=clock)
    taken = 0
    for _ in range(1000):
        if rate.wait_seconds() == 0:
            rate.take(1)
            taken += 1
        clock.now += 0.01
    assert 100 <= taken <= 105  # ten seconds and a burst of five


def test_a_large_batch_is_admitted_and_paid_back() -> None:
    clock = Clock()
    rate = Rate(10, burst_seconds=1, time=clock)
    rate.take(64)
    assert rate.wait_seconds() == pytest.approx(5.5)
    clock.now += 5.4
    assert rate.wait_seconds() == pytest.approx(0.1)
    clock.now += 0.2
    assert rate.wait_seconds() == 0


def test_the_announced_wait_is_enough() -> None:
    clock = Clock()
    rate = Rate(3, burst_seconds=0.1, time=clock)
    for size in (1, 2, 7, 1, 64):
        rate.take(size)
        clock.now += (int(1000 * rate.wait_seconds()) + 1) / 1000
        assert rate.wait_seconds() == 0


def test_unused_amounts_add_up_to_the_burst_only() -> None:
    clock = Clock()
    rate = Rate(10, burst_seconds=2, time=clock)
    clock.now += 1000
    rate.take(20)
    assert rate.wait_seconds() > 0


def caller(**limits: float) -> AccessCaller:
    rules = CallerRules(name="web", burst_seconds=100, **limits)  # type: ignore[arg-type]
    return AccessCaller(rules, 1.0, lambda _: None)


def test_a_reload_keeps_what_is_used() -> None:
    before = caller(images_per_second=0.01, concurrent_bytes=100)
    assert before.in_flight is not None
    before.take_images(1)
    before.in_flight.take(70)
    after = caller(images_per_second=0.02, concurrent_bytes=80)
    after.continue_from(before)
    with pytest.raises(CallerLimitError):
        after.take_images(1)
    assert after.in_flight is not None
    assert (after.in_flight.limit, after.in_flight.used) == (80, 70)
    assert not after.in_flight.admits(20)
    before.in_flight.release(70)  # by the calls that began before
    assert after.in_flight.admits(20)
    unlimited = caller()
    unlimited.continue_from(after)
    unlimited.take_images(1000)
    assert unlimited.in_flight is None


def test_failures_are_remembered_of_a_limited_number_of_addresses() -> None:
    clock = Clock()
    limit = FailureLimit(clock)
    for _ in range(40):
        limit.count("a")
    assert limit.wait_seconds("a") > 1
    assert limit.wait_seconds("b") == 0
    for index in range(MAX_ADDRESSES):
        clock.now += 0.1
        limit.count(str(index))
    assert limit.wait_seconds("a") == 0
    assert len(limit._by_address) == MAX_ADDRESSES
