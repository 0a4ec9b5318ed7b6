"""The order in which several processes run the tests."""

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from support.exporter import run_exporter
from support.order import fast_first, slow_first_in_each_part


@dataclass(eq=False)
class Item:
    """What the order needs to know of a test."""

    name: str
    path: Path
    seconds: float = 0
    fixturenames: tuple[str, ...] = field(default=())
    module: object = None

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        if not self.seconds:
            return None
        return cast(pytest.MarkDecorator, getattr(pytest.mark, name)(seconds=self.seconds)).mark


def module(name: str, count: int, seconds: float = 0, *fixtures: str) -> list[Any]:
    return [Item(f"{name}{n}", Path(name), seconds, fixtures) for n in range(count)]


COMMANDS = ModuleType("commands")
vars(COMMANDS)["run_exporter"] = run_exporter

ITEMS = [
    *module("demo", 2, 3, "demo_repository"),
    *module("quick", 17),
    *module("networks", 3, 40),
    *module("train", 5, 10),
    *module("readme", 4, 8, "demo_repository"),
    *module("other", 24),
]


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 40, 60])
def test_every_test_runs_once(parts: int) -> None:
    names = [item.name for item in slow_first_in_each_part(ITEMS, parts)]
    assert sorted(names) == sorted(item.name for item in ITEMS)


def test_each_process_begins_with_its_share_of_the_slow_tests() -> None:
    ordered = cast(list[Any], slow_first_in_each_part(ITEMS, 2))
    halves = ordered[: len(ITEMS) // 2], ordered[len(ITEMS) // 2 :]
    slow = [[item for item in half if item.seconds] for half in halves]
    assert [half[: len(first)] for half, first in zip(halves, slow, strict=True)] == slow
    assert [{item.path.name for item in first} for first in slow] == [
        {"networks"},
        {"train", "demo", "readme"},
    ]


def test_modules_that_run_the_exporter_are_in_one_process() -> None:
    slow = [*module("first", 2, 9), *module("second", 2, 8), *module("third", 2, 7)]
    for item in (*slow[:2], *slow[4:]):
        item.module = COMMANDS
    ordered = cast(list[Any], slow_first_in_each_part([*slow, *module("fast", 6)], 2))
    assert [item.path.name for item in ordered if item.seconds] == [
        *("first", "first", "third", "third"),
        *("second", "second"),
    ]


def test_fast_tests_that_run_the_exporter_are_in_that_process_too() -> None:
    items = [*module("first", 2, 9), *module("quick", 9), *module("commands", 3)]
    for item in (*items[:2], *items[-3:]):
        item.module = COMMANDS
    ordered = cast(list[Any], slow_first_in_each_part(items, 2))
    assert {item.path.name for item in ordered[:5]} == {"first", "commands"}


def test_one_process_runs_the_fast_tests_first() -> None:
    slow = [item.seconds > 0 for item in cast(list[Any], fast_first(ITEMS))]
    assert slow == sorted(slow)
