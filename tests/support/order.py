"""The order of the tests: fast ones first, or such that several processes end together."""

import os
from collections.abc import Iterator, Sequence
from itertools import groupby, islice

import pytest

__all__ = ["fast_first", "process_count", "slow_first_in_each_part"]

# Where the processes come from in which PyTorch and the exporter are loaded, which takes 10 s.
EXPORTER = ("support.exporter", "support.training")
# The estimate for a slow test that states none, in seconds.
SLOW_SECONDS = 10.0

Items = list[pytest.Item]


def process_count() -> int:
    """Return how many processes of pytest-xdist run the tests; 1 without pytest-xdist."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def fast_first(items: Sequence[pytest.Item]) -> Items:
    """Return the tests with the slow ones last."""
    return sorted(items, key=lambda item: _seconds(item) > 0)


def slow_first_in_each_part(items: Sequence[pytest.Item], parts: int) -> Items:
    """Return the tests in parts of equal length, each of which begins with slow tests.

    The scheduler worksteal gives each process one of these parts. A process that has finished
    its own takes tests from the end of another's. So the last tests to run are fast ones, and
    no process waits for another's slow test. The slow tests of a module share its fixtures, so
    they stay in one part.
    """
    slow = _distribute(list(_groups([item for item in items if _seconds(item)])), parts)
    fast = iter([item for item in items if not _seconds(item)])
    ordered: Items = []
    for size, first in zip(_sizes(len(items), parts), slow, strict=True):
        ordered += [*first, *islice(fast, max(0, size - len(first)))]
    return [*ordered, *fast]


def _distribute(groups: list[Items], parts: int) -> list[Items]:
    """Distribute groups of tests, the longest first, each to the part with the least to do."""
    lists: list[Items] = [[] for _ in range(parts)]
    for group in sorted(groups, key=_total, reverse=True):
        min(lists, key=_total).extend(group)
    return lists


def _groups(items: Sequence[pytest.Item]) -> Iterator[Items]:
    """Yield the tests of each module.

    Those that need the demo's bundles are one group, and the others that run the exporter too:
    so not every process of pytest-xdist loads the exporter for its own.
    """
    by_module = [list(module) for _, module in groupby(items, key=lambda item: item.path)]
    demo: Items = []
    exporter: Items = []
    for module in by_module:
        if any("demo_repository" in getattr(item, "fixturenames", ()) for item in module):
            demo += module
        elif _runs_exporter(module[0]):
            exporter += module
        else:
            yield module
    yield demo
    yield exporter


def _runs_exporter(item: pytest.Item) -> bool:
    """Report whether the module of a test has imported a command of the exporter."""
    values = vars(getattr(item, "module", None) or object)
    return any(getattr(value, "__module__", None) in EXPORTER for value in values.values())


def _total(items: Items) -> float:
    return sum(map(_seconds, items))


def _seconds(item: pytest.Item) -> float:
    """Return the estimated duration of a slow test, or 0 for a fast test."""
    marker = item.get_closest_marker("slow")
    return 0.0 if marker is None else float(marker.kwargs.get("seconds", SLOW_SECONDS))


def _sizes(count: int, parts: int) -> Iterator[int]:
    """Yield the length of each process's part, as worksteal computes it."""
    for left in range(parts, 0, -1):
        size = count // left
        yield size
        count -= size
