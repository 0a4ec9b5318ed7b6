"""What answers follows the disk, and nothing bad on the disk reaches what answers."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.alterations import burden, flip_byte
from support.loading import Follower, make_loader
from support.tiny import write_tiny

from convscope.server.errors import (
    BundleRejectedError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
)
from convscope.server.repository.catalog import NotLoadedError, Target
from convscope.server.repository.desired import DesiredVersions
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.operator import Operator
from convscope.server.repository.selection import Selection, parse_versions

pytestmark = pytest.mark.usefixtures("quick_inspection")


@pytest.fixture
def follower() -> Follower:
    return Follower()


@pytest.fixture
def make(tmp_path: Path, follower: Follower) -> Callable[..., ModelManager]:
    def manager(max_bytes: int | None = None, **selection: Any) -> ModelManager:
        return ModelManager(
            tmp_path, make_loader(), Selection(**selection), follower, max_bytes=max_bytes
        )

    return manager


def answering(manager: ModelManager, model: str = "tiny") -> list[int]:
    return [version.key[1] for version in manager.catalog if version.key[0] == model]


def break_version(directory: Path) -> None:
    flip_byte(directory / "model.onnx", 50)


def set_alias(root: Path, **aliases: int) -> None:
    (root / "tiny" / "aliases.json").write_text(json.dumps(aliases))


async def test_new_version_takes_over_and_the_old_one_retires(
    tmp_path: Path, make: Callable[..., ModelManager], follower: Follower
) -> None:
    write_tiny(tmp_path, version=1)
    manager = make()
    await manager.refresh()
    write_tiny(tmp_path, version=2)
    await manager.refresh()
    await manager.close()
    assert manager.catalog.resolve(Target("tiny")).key == ("tiny", 2)
    assert follower.events == [
        *("ready tiny v1", "settled"),
        *("ready tiny v2", "settled", "retire tiny v1"),
    ]


async def test_nothing_new_is_nothing_done(
    tmp_path: Path, make: Callable[..., ModelManager], follower: Follower
) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.refresh()
    told = list(follower.events)
    await manager.refresh()
    assert follower.events == told


async def test_refused_version_leaves_the_old_one_and_is_tried_again_only_when_it_changes(
    tmp_path: Path, make: Callable[..., ModelManager], follower: Follower
) -> None:
    write_tiny(tmp_path, version=1)
    manager = make()
    await manager.refresh()
    break_version(write_tiny(tmp_path, version=2))
    for _ in range(3):
        await manager.refresh()
    assert answering(manager) == [1]
    assert [(r.version, r.reason) for r in manager.catalog.rejections] == [(2, "hash")]
    assert follower.events.count("refused tiny v2 hash") == 1
    shutil.rmtree(tmp_path / "tiny" / "2")
    write_tiny(tmp_path, version=2)
    await manager.refresh()
    assert answering(manager) == [2]
    assert manager.catalog.rejections == []


async def test_version_that_arrives_piece_by_piece_is_served_once_it_is_whole(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path, version=1)
    source = write_tiny(tmp_path / "elsewhere", version=2)
    manager = make()
    await manager.refresh()
    target = tmp_path / "tiny" / "2"
    target.mkdir()
    for name in ("model.onnx", "manifest.json", "golden.npz"):
        await manager.refresh()
        assert answering(manager) == [1]
        shutil.copy(source / name, target / name)
    await manager.refresh()
    assert answering(manager) == [2]


async def test_files_replaced_by_good_ones_are_loaded_and_by_bad_ones_are_not(
    tmp_path: Path, make: Callable[..., ModelManager], follower: Follower
) -> None:
    directory = write_tiny(tmp_path)
    manager = make()
    await manager.refresh()
    first = manager.catalog.resolve(Target("tiny"))
    break_version(directory)
    await manager.refresh()
    assert manager.catalog.resolve(Target("tiny")) is first
    shutil.rmtree(directory)
    write_tiny(tmp_path)
    await manager.refresh()
    await manager.close()
    assert manager.catalog.resolve(Target("tiny")) is not first
    assert follower.events.count("retire tiny v1") == 1


async def test_alias_switches_without_a_load_when_both_versions_answer(
    tmp_path: Path, make: Callable[..., ModelManager], follower: Follower
) -> None:
    write_tiny(tmp_path, version=1)
    write_tiny(tmp_path, version=2)
    set_alias(tmp_path, champion=1)
    manager = make()
    await manager.refresh()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)
    set_alias(tmp_path, champion=2, previous=1)
    await manager.refresh()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 2)
    assert sum(event.startswith("ready") for event in follower.events) == 2


async def test_alias_file_that_cannot_be_read_changes_no_alias(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path)
    set_alias(tmp_path, champion=1)
    manager = make()
    await manager.refresh()
    (tmp_path / "tiny" / "aliases.json").write_text("{")
    await manager.refresh()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)


async def test_rolled_back_version_returns(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path, version=1)
    manager = make()
    await manager.refresh()
    write_tiny(tmp_path, version=2)
    await manager.refresh()
    shutil.rmtree(tmp_path / "tiny" / "2")
    await manager.refresh()
    assert answering(manager) == [1]


async def test_repository_that_cannot_be_read_changes_nothing(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.refresh()
    tmp_path.rename(tmp_path.parent / "moved")
    await manager.refresh()
    assert answering(manager) == [1]


async def test_model_that_is_unloaded_stays_away_until_it_is_loaded(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.refresh()
    await Operator(manager).unload("tiny")
    await manager.refresh()
    with pytest.raises(NotFoundError):
        manager.catalog.resolve(Target("tiny"))
    await Operator(manager).load("tiny")
    assert answering(manager) == [1]


async def test_load_tries_again_what_was_refused(
    tmp_path: Path, make: Callable[..., ModelManager], follower: Follower
) -> None:
    break_version(write_tiny(tmp_path))
    manager = make()
    await manager.refresh()
    with pytest.raises(BundleRejectedError, match="tiny v1 was refused: the SHA-256"):
        await Operator(manager).load("tiny")
    assert follower.events.count("refused tiny v1 hash") == 2


async def test_version_that_an_operator_asks_for_answers_beside_the_latest(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    manager = make()
    await manager.refresh()
    await Operator(manager).load("tiny", 1)
    assert answering(manager) == [1, 2]
    await Operator(manager).unload("tiny", 2)
    assert answering(manager) == [1]
    assert manager.catalog.resolve(Target("tiny")).key == ("tiny", 1)


async def test_alias_is_set_only_if_its_version_can_answer(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path, version=1)
    write_tiny(tmp_path, version=3)
    break_version(write_tiny(tmp_path, version=2))
    manager = make()
    await manager.refresh()
    await Operator(manager).set_alias("tiny", "champion", 1)
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)
    with pytest.raises(BundleRejectedError):
        await Operator(manager).set_alias("tiny", "champion", 2)
    aliases = json.loads((tmp_path / "tiny" / "aliases.json").read_text())
    assert aliases == {"champion": 1}
    await Operator(manager).set_alias("tiny", "champion", None)
    assert answering(manager) == [3]  # nothing holds version 1 any more


@pytest.mark.parametrize("alias", ["", "7", "-x", "a/b", "../x", "A", "x" * 64])
async def test_what_cannot_be_an_alias(
    tmp_path: Path, make: Callable[..., ModelManager], alias: str
) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.refresh()
    with pytest.raises(InvalidInputError, match="can't be an alias"):
        await Operator(manager).set_alias("tiny", alias, 1)


@pytest.mark.parametrize(("model", "version"), [("cat", None), ("tiny", 9), ("../tiny", None)])
async def test_what_is_not_on_the_disk_cannot_be_loaded(
    tmp_path: Path, make: Callable[..., ModelManager], model: str, version: int | None
) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.refresh()
    with pytest.raises(NotFoundError, match="the repository has"):
        await Operator(manager).load(model, version)


async def test_only_the_models_that_are_named(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    for model in ("one", "two", "three"):
        write_tiny(tmp_path, model)
    manager = make(models=frozenset({"one", "three"}))
    await manager.refresh()
    assert manager.catalog.models == ["one", "three"]


@pytest.mark.parametrize(
    ("text", "expected"), [("2", [3, 4]), ("=1,3", [1, 3]), ("=9", [])], ids=str
)
async def test_version_policies(
    tmp_path: Path, make: Callable[..., ModelManager], text: str, expected: list[int]
) -> None:
    for version in (1, 2, 3, 4):
        write_tiny(tmp_path, version=version)
    latest, versions = parse_versions(text)
    manager = make(latest=latest, versions=versions)
    await manager.refresh()
    assert answering(manager) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "latest", "=", "=0", "=1,", "3,5", "=1,x"])
def test_versions_that_mean_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="names no versions; give a number"):
        parse_versions(text)


# On demand


async def test_what_is_asked_for_is_loaded_then(
    tmp_path: Path, make: Callable[..., ModelManager], follower: Follower
) -> None:
    for model in ("one", "two"):
        write_tiny(tmp_path, model)
    manager = make(on_demand=True)
    await manager.refresh()
    assert manager.catalog.models == ["one", "two"]
    assert list(manager.catalog) == []
    with pytest.raises(NotLoadedError):
        manager.catalog.resolve(Target("one"))
    await asyncio.gather(*(manager.demand("one", 1) for _ in range(5)))
    assert manager.catalog.resolve(Target("one")).key == ("one", 1)
    assert follower.events.count("ready one v1") == 1


async def test_what_was_not_asked_for_the_longest_makes_room(
    tmp_path: Path, make: Callable[..., ModelManager], follower: Follower
) -> None:
    for model in ("one", "two", "three"):
        directory = write_tiny(tmp_path, model)
    # Room for two that are loaded, or for one and one that may come to have two sessions.
    manager = make(on_demand=True, max_bytes=6 * (directory / "model.onnx").stat().st_size)
    await manager.refresh()
    await manager.demand("one", 1)
    await manager.demand("two", 1)
    follower.used = {
        manager.catalog.resolve(Target("one")): 2.0,
        manager.catalog.resolve(Target("two")): 1.0,
    }
    await manager.demand("three", 1)
    assert [version.key[0] for version in manager.catalog] == ["one", "three"]
    await manager.demand("two", 1)
    assert "two" in [version.key[0] for version in manager.catalog]


async def test_dormant_version_that_is_refused_gives_way_to_the_next_older(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path, version=1)
    break_version(write_tiny(tmp_path, version=2))
    manager = make(on_demand=True)
    await manager.refresh()
    with pytest.raises(BundleRejectedError, match=r"SHA-256 of model\.onnx"):
        await manager.demand("tiny", 2)
    with pytest.raises(NotLoadedError) as unloaded:
        manager.catalog.resolve(Target("tiny"))
    assert unloaded.value.version == 1


async def test_on_demand_a_bad_version_leaves_the_one_that_answers(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path, version=1)
    manager = make(on_demand=True)
    await manager.refresh()
    await manager.demand("tiny", 1)
    break_version(write_tiny(tmp_path, version=2))
    await manager.refresh()
    assert manager.catalog.resolve(Target("tiny")).key == ("tiny", 1)
    write_tiny(tmp_path, version=3)
    await manager.refresh()
    assert manager.catalog.resolve(Target("tiny")).key == ("tiny", 3)


async def test_model_that_can_never_fit_is_refused_and_drives_nobody_out(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path, "small")
    write_tiny(tmp_path, "large", alter_graph=burden(64))
    manager = make(on_demand=True, max_bytes=2**18)
    await manager.refresh()
    await manager.demand("small", 1)
    with pytest.raises(BundleRejectedError, match="it needs about 1 MB"):
        await manager.demand("large", 1)
    assert answering(manager, "small") == [1]


async def test_version_that_can_never_fit_keeps_no_other_model_from_being_followed(
    tmp_path: Path, make: Callable[..., ModelManager], follower: Follower
) -> None:
    for model in ("a", "z"):
        write_tiny(tmp_path, model)
    manager = make(on_demand=True, max_bytes=2**18)
    await manager.refresh()
    for model in ("a", "z"):
        await manager.demand(model, 1)
    write_tiny(tmp_path, "a", 2, alter_graph=burden(64))
    write_tiny(tmp_path, "z", 2)
    for _ in range(2):
        await manager.refresh()
    assert (answering(manager, "a"), answering(manager, "z")) == ([1], [2])
    assert follower.events.count("refused a v2 memory") == 1


async def test_what_may_evict_nobody_is_loaded_only_where_there_is_room(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    for model in ("one", "two"):
        directory = write_tiny(tmp_path, model)
    size = (directory / "model.onnx").stat().st_size
    manager = make(on_demand=True, max_bytes=5 * size)
    await manager.refresh()
    await manager.demand("one", 1, evict=False)
    with pytest.raises(OverloadedError, match="no memory left for two v1"):
        await manager.demand("two", 1, evict=False)
    assert (answering(manager, "one"), answering(manager, "two")) == ([1], [])


async def test_model_that_cannot_be_followed_for_once_keeps_no_other_from_it(
    tmp_path: Path, make: Callable[..., ModelManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("a", "z"):
        write_tiny(tmp_path, model)
    manager = make()
    with monkeypatch.context() as patch:
        choose = DesiredVersions.choose

        def stumble(self: DesiredVersions, model: str, *rest: Any) -> list[int]:
            if model == "a":
                raise RuntimeError("for once")
            return choose(self, model, *rest)

        patch.setattr(DesiredVersions, "choose", stumble)
        await manager.refresh()
        assert (answering(manager, "a"), answering(manager, "z")) == ([], [1])
    await manager.refresh()
    assert answering(manager, "a") == [1]


async def test_operator_learns_of_a_bad_version_on_demand_too(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path, version=1)
    break_version(write_tiny(tmp_path, version=2))
    manager = make(on_demand=True)
    await manager.refresh()
    with pytest.raises(BundleRejectedError):
        await Operator(manager).set_alias("tiny", "champion", 2)
    assert not (tmp_path / "tiny" / "aliases.json").exists()


# What can't be trusted


async def test_alias_stays_where_it_was_while_its_new_version_cannot_answer(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    for version in (1, 3):
        write_tiny(tmp_path, version=version)
    set_alias(tmp_path, champion=1)
    manager = make()
    await manager.refresh()
    set_alias(tmp_path, champion=2)  # which isn't there yet
    await manager.refresh()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)
    directory = write_tiny(tmp_path, version=2)
    break_version(directory)
    await manager.refresh()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)
    shutil.rmtree(directory)
    write_tiny(tmp_path, version=2)
    await manager.refresh()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 2)
    assert answering(manager) == [2, 3]


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"champion": 99999999999999999999}', '{"a b": 1}', '{"x": true}'],
    ids=["deep", "huge", "name", "bool"],
)
async def test_aliases_that_mean_nothing_change_nothing(
    tmp_path: Path, make: Callable[..., ModelManager], text: str
) -> None:
    write_tiny(tmp_path)
    set_alias(tmp_path, champion=1)
    manager = make()
    await manager.refresh()
    (tmp_path / "tiny" / "aliases.json").write_text(text)
    await manager.refresh()
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)


async def test_model_that_cannot_be_read_concerns_no_other(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path, version=1)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    manager = make()
    await manager.refresh()
    write_tiny(tmp_path, version=2)
    await manager.refresh()
    assert answering(manager) == [2]


async def test_two_aliases_set_at_once_are_both_there(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.refresh()
    names = [f"name{number}" for number in range(8)]
    await asyncio.gather(*(Operator(manager).set_alias("tiny", name, 1) for name in names))
    assert sorted(manager.catalog.aliases("tiny")) == names


async def test_unloaded_model_stays_away_although_versions_are_published(
    tmp_path: Path, make: Callable[..., ModelManager]
) -> None:
    write_tiny(tmp_path, version=1)
    manager = make()
    await manager.refresh()
    await Operator(manager).unload("tiny")
    write_tiny(tmp_path, version=2)
    await manager.refresh()
    assert answering(manager) == []
