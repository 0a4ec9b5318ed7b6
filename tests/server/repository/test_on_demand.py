"""Versions that are loaded at their first request, within a bound on memory."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from support.alterations import burden
from support.loading import Follower
from support.repositories import MakeManager, corrupt, serving, set_alias
from support.tiny import write_tiny

from convscope.server.errors import (
    BundleRejectedError,
    NotFoundError,
    OverloadedError,
)
from convscope.server.repository.catalog import NotLoadedError, Target
from convscope.server.repository.operator import Operator

pytestmark = pytest.mark.usefixtures("quick_inspection")


async def test_version_is_loaded_once_at_its_first_request(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    for model in ("one", "two"):
        write_tiny(tmp_path, model)
    manager = make(on_demand=True)
    await manager.reconcile()
    assert manager.catalog.models == ["one", "two"]
    assert list(manager.catalog) == []
    with pytest.raises(NotLoadedError):
        manager.catalog.resolve(Target("one"))
    await asyncio.gather(*(manager.load_on_demand("one", 1) for _ in range(5)))
    assert manager.catalog.resolve(Target("one")).key == ("one", 1)
    assert follower.events.count("ready one v1") == 1


async def test_least_recently_used_version_makes_room(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    for model in ("one", "two", "three"):
        directory = write_tiny(tmp_path, model)
    # Room for two that are loaded, or for one and one that may come to have two sessions.
    manager = make(on_demand=True, max_bytes=6 * (directory / "model.onnx").stat().st_size)
    await manager.reconcile()
    await manager.load_on_demand("one", 1)
    await manager.load_on_demand("two", 1)
    follower.used = {
        manager.catalog.resolve(Target("one")): 2.0,
        manager.catalog.resolve(Target("two")): 1.0,
    }
    await manager.load_on_demand("three", 1)
    assert [version.key[0] for version in manager.catalog] == ["one", "three"]
    await manager.load_on_demand("two", 1)
    assert "two" in [version.key[0] for version in manager.catalog]


async def test_unloaded_version_that_is_rejected_gives_its_place_to_the_next_older(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path, version=1)
    corrupt(write_tiny(tmp_path, version=2))
    manager = make(on_demand=True)
    await manager.reconcile()
    with pytest.raises(BundleRejectedError, match=r"SHA-256 of model\.onnx"):
        await manager.load_on_demand("tiny", 2)
    with pytest.raises(NotLoadedError) as unloaded:
        manager.catalog.resolve(Target("tiny"))
    assert unloaded.value.version == 1


async def test_new_version_replaces_a_loaded_one_unless_it_is_bad(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path, version=1)
    manager = make(on_demand=True)
    await manager.reconcile()
    await manager.load_on_demand("tiny", 1)
    corrupt(write_tiny(tmp_path, version=2))
    await manager.reconcile()
    assert manager.catalog.resolve(Target("tiny")).key == ("tiny", 1)
    write_tiny(tmp_path, version=3)
    await manager.reconcile()
    assert manager.catalog.resolve(Target("tiny")).key == ("tiny", 3)


async def test_model_that_can_never_fit_is_rejected_and_evicts_nothing(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path, "small")
    write_tiny(tmp_path, "large", alter_graph=burden(64))
    manager = make(on_demand=True, max_bytes=2**18)
    await manager.reconcile()
    await manager.load_on_demand("small", 1)
    with pytest.raises(BundleRejectedError, match="it needs about 1 MB"):
        await manager.load_on_demand("large", 1)
    assert serving(manager, "small") == [1]


async def test_version_that_can_never_fit_does_not_stop_other_models(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    for model in ("a", "z"):
        write_tiny(tmp_path, model)
    manager = make(on_demand=True, max_bytes=2**18)
    await manager.reconcile()
    for model in ("a", "z"):
        await manager.load_on_demand(model, 1)
    write_tiny(tmp_path, "a", 2, alter_graph=burden(64))
    write_tiny(tmp_path, "z", 2)
    for _ in range(2):
        await manager.reconcile()
    assert (serving(manager, "a"), serving(manager, "z")) == ([1], [2])
    assert follower.events.count("rejected a v2 memory") == 1


async def test_load_without_eviction_needs_free_memory(tmp_path: Path, make: MakeManager) -> None:
    for model in ("one", "two"):
        directory = write_tiny(tmp_path, model)
    size = (directory / "model.onnx").stat().st_size
    manager = make(on_demand=True, max_bytes=5 * size)
    await manager.reconcile()
    await manager.load_on_demand("one", 1, evict=False)
    with pytest.raises(OverloadedError, match="no memory left for two v1"):
        await manager.load_on_demand("two", 1, evict=False)
    assert (serving(manager, "one"), serving(manager, "two")) == ([1], [])


async def test_operator_sees_a_bad_version_on_demand_too(tmp_path: Path, make: MakeManager) -> None:
    write_tiny(tmp_path, version=1)
    corrupt(write_tiny(tmp_path, version=2))
    manager = make(on_demand=True)
    await manager.reconcile()
    with pytest.raises(BundleRejectedError):
        await Operator(manager).set_alias("tiny", "champion", 2)
    assert not (tmp_path / "tiny" / "aliases.json").exists()


async def test_change_on_disk_loads_only_what_takes_the_place_of_a_loaded_version(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    for version in (1, 2, 3):
        write_tiny(tmp_path, version=version)
    manager = make(on_demand=True, latest=3)
    await manager.reconcile()
    await manager.load_on_demand("tiny", 3)
    shutil.rmtree(tmp_path / "tiny" / "1")
    write_tiny(tmp_path, version=1)
    set_alias(tmp_path, champion=2)
    await manager.reconcile()
    assert serving(manager) == [3]
    write_tiny(tmp_path, version=4)
    await manager.reconcile()
    assert serving(manager) == [3, 4]
    assert manager.catalog.get("tiny").serving == {2, 3, 4}


async def test_version_that_disappeared_is_unavailable_until_it_is_reconciled(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path)
    manager = make(on_demand=True)
    await manager.reconcile()
    shutil.rmtree(tmp_path / "tiny")
    with pytest.raises(BundleRejectedError, match="can't be read"):
        await manager.load_on_demand("tiny", 1)
    await manager.reconcile()
    with pytest.raises(NotFoundError):
        manager.catalog.resolve(Target("tiny"))


async def test_only_a_version_that_the_request_names_must_serve_it(
    tmp_path: Path, make: MakeManager
) -> None:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    set_alias(tmp_path, champion=1)
    split = {"canary": {"to": 2, "share": 1.0, "of": "champion"}}
    (tmp_path / "tiny" / "traffic.json").write_text(json.dumps(split))
    manager = make(on_demand=True, versions=frozenset({1}))
    await manager.reconcile()

    def unloaded(target: Target, *, canary: bool = True) -> tuple[int, bool]:
        with pytest.raises(NotLoadedError) as caught:
            manager.catalog.resolve(target, canary=canary)
        return caught.value.version, caught.value.is_named

    assert unloaded(Target("tiny")) == (1, False)
    assert unloaded(Target("tiny", number=2)) == (2, True)
    assert unloaded(Target("tiny", alias="champion"), canary=False) == (1, True)
    assert unloaded(Target("tiny", alias="champion")) == (2, False)
