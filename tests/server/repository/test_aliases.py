"""Aliases follow aliases.json as far as it is valid and its versions serve."""

import shutil
from pathlib import Path

import pytest
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
