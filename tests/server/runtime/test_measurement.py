"""What is chosen for the times that a model shows, on a clock of its own."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from convscope.server.runtime import measurement
from convscope.server.runtime.execution import Execution
from convscope.server.runtime.measurement import BusyError, measure
from convscope.server.runtime.versions import LoadedVersion

# The milliseconds of a batch, by its size.
Milliseconds = Callable[[int], float]


class Clock(threading.local):
    """Advances only by the work that is done; in each thread on its own, as if it had a core."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def chosen(
    monkeypatch: pytest.MonkeyPatch,
    one_core: Milliseconds,
    all_cores: Milliseconds,
    *,
    cores: int = 2,
    on_gpu: bool = False,
) -> Execution:
    """Measure a model that takes these times."""
    clock = Clock()
    monkeypatch.setattr(measurement, "perf_counter", clock)

    def open_trial(threads: int) -> LoadedVersion:
        return cast(
            "LoadedVersion", SimpleNamespace(threads=threads, model=SimpleNamespace(on_gpu=on_gpu))
        )

    def rehearse(version: LoadedVersion, size: int) -> Callable[[], None]:
        wide = cast("SimpleNamespace", version).threads > 1
        milliseconds = (all_cores if wide else one_core)(size)

        def run() -> None:
            clock.seconds += milliseconds / 1000

        return run

    return measure(open_trial, rehearse, cores)


def test_short_batches_of_small_networks_run_on_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execution = chosen(monkeypatch, lambda n: 0.15 + 0.05 * n, lambda n: 0.2 + 0.05 * n)
    assert (execution.runners, execution.inline, execution.max_batch) == (1, True, 64)


def test_with_a_single_core_no_batch_blocks_the_event_loop_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execution = chosen(monkeypatch, lambda n: 0.15 + 0.15 * n, lambda n: 0.2 + 0.15 * n, cores=1)
    assert (execution.runners, execution.inline, execution.max_batch) == (0, True, 16)


def test_of_batches_that_are_equal_the_largest_that_is_short_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execution = chosen(monkeypatch, lambda n: 14.0 * n, lambda n: 8.0 * n)
    assert (execution.runners, execution.threads, execution.max_batch) == (2, 1, 4)
    assert execution.lone_threads == 2
    slow = chosen(monkeypatch, lambda n: 110.0 * n, lambda n: 60.0 * n)
    assert slow.max_batch == 1


def test_a_gain_justifies_a_long_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    execution = chosen(monkeypatch, lambda n: 40.0 + 2.0 * n, lambda n: 39.0 + 2.0 * n, cores=1)
    assert (execution.runners, execution.max_batch) == (1, 64)


def test_batches_that_exceed_the_cache_are_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    execution = chosen(
        monkeypatch,
        lambda n: 5.0 * n * (1.0 if n <= 2 else 1.4),
        lambda n: 4.5 * n * (1.0 if n <= 2 else 1.4),
    )
    assert execution.max_batch == 2
    assert execution.lone_threads == 2


def test_all_cores_are_not_used_for_a_small_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    execution = chosen(monkeypatch, lambda n: 14.0 * n, lambda n: 13.5 * n)
    assert execution.lone_threads == 1


def test_a_gpu_has_one_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    execution = chosen(monkeypatch, lambda n: 0.1 + 0.05 * n, lambda n: 1.0, on_gpu=True)
    assert (execution.runners, execution.threads, execution.max_batch) == (1, 1, 64)


def test_cores_that_others_occupy_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BusyError, match="14 ms on one core and 30 ms on 2"):
        chosen(monkeypatch, lambda n: 14.0 * n, lambda n: 30.0 * n)
