"""Aliases follow aliases.json as far as it is valid and its versions serve."""

import shutil
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.loading import Follower
from support.repositories import MakeManager, corrupt, serving, set_alias
from support.tiny import write_tiny

from convscope.server.repository.catalog import Target

pytestmark = pytest.mark.usefixtures("quick_inspection")


async def test_alias_switches_without_a_load_when_both_versions_answer(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    write_tiny(tmp_path, version=1)
    write_tiny(tmp_path, version=2)
    set_alias(tmp_path, champion=1)
    manager = make()
    await manager.reconcile()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)
    set_alias(tmp_path, champion=2, previous=1)
    await manager.reconcile()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 2)
    assert sum(event.startswith("ready") for event in follower.events) == 2


async def test_alias_file_that_cannot_be_read_changes_no_alias(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path)
    set_alias(tmp_path, champion=1)
    manager = make()
    await manager.reconcile()
    (tmp_path / "tiny" / "aliases.json").write_text("{")
    await manager.reconcile()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)


async def test_alias_keeps_its_version_while_the_new_one_cannot_serve(
    tmp_path: Path, make: MakeManager
) -> None:
    for version in (1, 3):
        write_tiny(tmp_path, version=version)
    set_alias(tmp_path, champion=1)
    manager = make()
    await manager.reconcile()
    set_alias(tmp_path, champion=2)  # which isn't there yet
    await manager.reconcile()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)
    directory = write_tiny(tmp_path, version=2)
    corrupt(directory)
    await manager.reconcile()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)
    shutil.rmtree(directory)
    write_tiny(tmp_path, version=2)
    await manager.reconcile()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 2)
    assert serving(manager) == [2, 3]


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"champion": 99999999999999999999}', '{"a b": 1}', '{"x": true}'],
    ids=["deep", "huge", "name", "bool"],
)
async def test_invalid_aliases_change_nothing(tmp_path: Path, make: MakeManager, text: str) -> None:
    write_tiny(tmp_path)
    set_alias(tmp_path, champion=1)
    manager = make()
    await manager.reconcile()
    (tmp_path / "tiny" / "aliases.json").write_text(text)
    await manager.reconcile()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)


async def test_changes_by_files_are_logged(tmp_path: Path, make: MakeManager) -> None:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    set_alias(tmp_path, champion=1, old=1)
    manager = make()
    with capture_logs() as logs:
        await manager.reconcile()
    assert changes(logs) == []  # the first state is no change
    set_alias(tmp_path, champion=2)
    (tmp_path / "tiny" / "traffic.json").write_text('{"canary": {"to": 1, "share": 0.1}}')
    with capture_logs() as logs:
        await manager.reconcile()
        await manager.reconcile()
    assert changes(logs) == [
        {"event": "alias changed", "alias": "champion", "before": 1, "after": 2},
        {"event": "alias changed", "alias": "old", "before": 1, "after": None},
        {"event": "traffic split changed", "kind": "canary", "before": None, "after": "0.1 -> v1"},
    ]


def changes(logs: Sequence[MutableMapping[str, Any]]) -> list[dict[str, Any]]:
    hidden = ("log_level", "model")
    return [
        {name: value for name, value in line.items() if name not in hidden}
        for line in logs
        if line["event"].endswith("changed")
    ]
