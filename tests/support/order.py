"""The order of the tests: fast ones first, or such that several processes end together."""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby, islice

import pytest

__all__ = ["fast_first", "process_count", "slow_first_in_each_part"]

# Modules of the tests, and what their users share: a process in which PyTorch is loaded, which
# takes ten seconds in each process of pytest-xdist, or an environment, for which others would wait.
SHARED = {
    "support.exporter": "exporter",
    "support.training": "exporter",
    "support.venvs": "environments",
}
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
    they stay in one part, and so do all tests for which each process would load PyTorch.
    """
    first = [item for item in items if _seconds(item) or _needs_shared(item)]
    slow = _distribute(_groups(first), parts)
    fast = iter([item for item in items if not _seconds(item) and not _needs_shared(item)])
    ordered: Items = []
    for size, first in zip(_sizes(len(items), parts), slow, strict=True):
        ordered += [*first, *islice(fast, max(0, size - len(first)))]
    return [*ordered, *fast]


def _distribute(groups: Iterable[Items], parts: int) -> list[Items]:
    """Distribute groups of tests, the longest first, each to the part with the least to do."""
    lists: list[Items] = [[] for _ in range(parts)]
    for group in sorted(groups, key=_total, reverse=True):
        min(lists, key=_total).extend(group)
    return lists


def _groups(items: Sequence[pytest.Item]) -> Iterable[Items]:
    """Return the tests of each module, together with those of modules that share the same."""
    groups: dict[str, Items] = {}
    for path, module in groupby(items, key=lambda item: item.path):
        tests = list(module)
        groups.setdefault(_shared(tests) or str(path), []).extend(tests)
    return groups.values()


def _shared(module: Items) -> str:
    """Return what the slow tests of a module share with those of others, or nothing."""
    if any("demo_repository" in getattr(item, "fixturenames", ()) for item in module):
        return "the demo's bundles"
    return _shared_by(getattr(module[0], "module", None))


def _needs_shared(item: pytest.Item) -> bool:
    return bool(_shared_by(getattr(item, "module", None)))


@cache
def _shared_by(module: object) -> str:
    """Return what a module's tests share with those of other modules, or nothing."""
    sources = {getattr(value, "__module__", None) for value in vars(module or object).values()}
    return next((shared for source, shared in SHARED.items() if source in sources), "")


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
