"""What an operator changes, and the state after a change that fails."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.alterations import flip_byte
from support.loading import Follower, make_loader
from support.repositories import MakeManager, corrupt, serving
from support.tiny import write_tiny

from convscope.bundle.traffic import TrafficSplit
from convscope.server.errors import (
    BundleRejectedError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from convscope.server.repository import operator
from convscope.server.repository.catalog import Target
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.operator import Operator
from convscope.server.repository.selection import Selection
from convscope.server.runtime.versions import LoadedVersion

pytestmark = pytest.mark.usefixtures("quick_inspection")


@pytest.fixture
async def manager(tmp_path: Path, follower: Follower) -> ModelManager[LoadedVersion]:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    manager = ModelManager(tmp_path, make_loader(), Selection(), follower)
    await manager.reconcile()
    return manager


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let every write fail, as on a full disk."""

    def fail(*arguments: object) -> None:
        raise UnavailableError("no space left")

    def begin() -> None:
        for name in ("write_alias", "write_split"):
            monkeypatch.setattr(operator, name, fail)

    return begin


async def test_unloaded_model_stays_unloaded_until_it_is_loaded(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.reconcile()
    await Operator(manager).unload("tiny")
    await manager.reconcile()
    with pytest.raises(NotFoundError):
        manager.catalog.resolve(Target("tiny"))
    await Operator(manager).load("tiny")
    assert serving(manager) == [1]


async def test_unloaded_model_stays_unloaded_when_versions_are_published(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path, version=1)
    manager = make()
    await manager.reconcile()
    await Operator(manager).unload("tiny")
    write_tiny(tmp_path, version=2)
    await manager.reconcile()
    assert serving(manager) == []


async def test_load_tries_a_rejected_version_again(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    corrupt(write_tiny(tmp_path))
    manager = make()
    await manager.reconcile()
    with pytest.raises(BundleRejectedError, match="tiny v1 was rejected: the SHA-256"):
        await Operator(manager).load("tiny")
    assert follower.events.count("rejected tiny v1 hash") == 2


async def test_version_that_an_operator_loads_serves_beside_the_latest(
    tmp_path: Path, make: MakeManager
) -> None:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    manager = make()
    await manager.reconcile()
    await Operator(manager).load("tiny", 1)
    assert serving(manager) == [1, 2]
    await Operator(manager).unload("tiny", 2)
    assert serving(manager) == [1]
    assert manager.catalog.resolve(Target("tiny")).key == ("tiny", 1)


async def test_alias_is_set_only_if_its_version_can_serve(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path, version=1)
    write_tiny(tmp_path, version=3)
    corrupt(write_tiny(tmp_path, version=2))
    manager = make()
    await manager.reconcile()
    await Operator(manager).set_alias("tiny", "champion", 1)
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)
    with pytest.raises(BundleRejectedError):
        await Operator(manager).set_alias("tiny", "champion", 2)
    aliases = json.loads((tmp_path / "tiny" / "aliases.json").read_text())
    assert aliases == {"champion": 1}
    await Operator(manager).set_alias("tiny", "champion", None)
    assert serving(manager) == [3]  # nothing holds version 1 any more


async def test_aliases_set_at_the_same_time_all_exist(tmp_path: Path, make: MakeManager) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.reconcile()
    names = [f"name{number}" for number in range(8)]
    await asyncio.gather(*(Operator(manager).set_alias("tiny", name, 1) for name in names))
    assert sorted(manager.catalog.aliases("tiny")) == names


@pytest.mark.parametrize("alias", ["", "7", "-x", "a/b", "../x", "A", "x" * 64])
async def test_invalid_alias_is_rejected(tmp_path: Path, make: MakeManager, alias: str) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.reconcile()
    with pytest.raises(InvalidInputError, match="can't be an alias"):
        await Operator(manager).set_alias("tiny", alias, 1)


@pytest.mark.parametrize(("model", "version"), [("cat", None), ("tiny", 9), ("../tiny", None)])
async def test_version_that_is_not_on_disk_cannot_be_loaded(
    tmp_path: Path, make: MakeManager, model: str, version: int | None
) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.reconcile()
    with pytest.raises(NotFoundError, match="the repository has"):
        await Operator(manager).load(model, version)


async def test_alias_that_cannot_be_written_leaves_no_version_loaded(
    manager: ModelManager[LoadedVersion], unwritable: Callable[[], None]
) -> None:
    unwritable()
    with pytest.raises(UnavailableError):
        await Operator(manager).set_alias("tiny", "champion", 1)
    assert serving(manager) == [2]


async def test_unloaded_model_stays_unloaded_when_an_alias_cannot_be_written(
    manager: ModelManager[LoadedVersion], unwritable: Callable[[], None]
) -> None:
    await Operator(manager).unload("tiny")
    unwritable()
    with pytest.raises(UnavailableError):
        await Operator(manager).set_alias("tiny", "champion", 1)
    assert serving(manager) == []


async def test_alias_includes_an_unloaded_version_again(
    manager: ModelManager[LoadedVersion],
) -> None:
    await Operator(manager).unload("tiny")
    await Operator(manager).set_alias("tiny", "champion", 1)
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)


async def test_traffic_split_tries_no_other_rejected_version_again(
    tmp_path: Path, manager: ModelManager[LoadedVersion], follower: Follower
) -> None:
    flip_byte(write_tiny(tmp_path, version=3) / "model.onnx", 50)
    await manager.reconcile()
    for share in (0.01, 0.05, 0.2):
        await Operator(manager).set_split("tiny", "canary", TrafficSplit(1, share))
    assert follower.events.count("rejected tiny v3 hash") == 1
    with pytest.raises(BundleRejectedError):
        await Operator(manager).set_split("tiny", "canary", TrafficSplit(3, 0.1))
    assert manager.catalog.splits == [("tiny", 1, "canary", 0.2)]


@pytest.mark.parametrize("split", [TrafficSplit("best", 0.1), TrafficSplit(1, 0.1, of="best")])
async def test_traffic_split_of_an_unknown_alias_is_an_error(
    manager: ModelManager[LoadedVersion], split: TrafficSplit
) -> None:
    with pytest.raises(NotFoundError, match="tiny has no alias 'best'; it has none"):
        await Operator(manager).set_split("tiny", "shadow", split)


async def test_a_request_is_resolved_alike_however_often(
    manager: ModelManager[LoadedVersion],
) -> None:
    await Operator(manager).set_split("tiny", "canary", TrafficSplit(1, 0.5))
    targets = [Target("tiny") for _ in range(200)]
    first = [manager.catalog.resolve(target, canary=True).key for target in targets]
    assert {key[1] for key in first} == {1, 2}
    assert [manager.catalog.resolve(target, canary=True).key for target in targets] == first


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        (TrafficSplit(2, 0.1), "canary goes to v2, which requests without an alias get anyway"),
        (TrafficSplit(1, 0.1, "champion"), "canary goes to v1, which is the version of champion"),
    ],
)
async def test_traffic_split_to_the_version_that_serves_anyway_is_a_problem(
    manager: ModelManager[LoadedVersion], split: TrafficSplit, problem: str
) -> None:
    operator = Operator(manager)
    await operator.set_alias("tiny", "champion", 1)
    await operator.set_split("tiny", "canary", split)
    (found,) = operator.problems("tiny")
    assert found.startswith(problem)
    await operator.set_split("tiny", "canary", TrafficSplit(2, 0.1, "champion"))
    assert operator.problems("tiny") == []


async def test_unloaded_versions_are_reported(manager: ModelManager[LoadedVersion]) -> None:
    operator = Operator(manager)
    await operator.unload("tiny", 2)
    expected = "v2 is unloaded; `convscope admin load tiny 2` loads it again"
    assert operator.problems("tiny") == [expected]
    await operator.unload("tiny")
    expected = "tiny is unloaded; `convscope admin load tiny` loads it again"
    assert operator.problems("tiny") == [expected]
    await operator.load("tiny")
    assert operator.problems("tiny") == []
