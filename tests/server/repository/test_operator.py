"""What an operator asks for, and what is left of it when it can't be done."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.alterations import flip_byte
from support.loading import Follower, make_loader
from support.tiny import write_tiny

from convscope.bundle.traffic import TrafficSplit
from convscope.server.errors import BundleRejectedError, NotFoundError, UnavailableError
from convscope.server.repository import operator
from convscope.server.repository.catalog import Target
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.operator import Operator
from convscope.server.repository.selection import Selection

pytestmark = pytest.mark.usefixtures("quick_inspection")


@pytest.fixture
def follower() -> Follower:
    return Follower()


@pytest.fixture
async def manager(tmp_path: Path, follower: Follower) -> ModelManager:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    manager = ModelManager(tmp_path, make_loader(), Selection(), follower)
    await manager.refresh()
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


def answering(manager: ModelManager) -> list[int]:
    return [version.key[1] for version in manager.catalog]


async def test_alias_that_can_t_be_written_leaves_no_version_behind(
    manager: ModelManager, unwritable: Callable[[], None]
) -> None:
    unwritable()
    with pytest.raises(UnavailableError):
        await Operator(manager).set_alias("tiny", "champion", 1)
    assert answering(manager) == [2]


async def test_what_was_unloaded_stays_so_when_an_alias_can_t_be_written(
    manager: ModelManager, unwritable: Callable[[], None]
) -> None:
    await Operator(manager).unload("tiny")
    unwritable()
    with pytest.raises(UnavailableError):
        await Operator(manager).set_alias("tiny", "champion", 1)
    assert answering(manager) == []


async def test_alias_brings_back_what_was_unloaded(manager: ModelManager) -> None:
    await Operator(manager).unload("tiny")
    await Operator(manager).set_alias("tiny", "champion", 1)
    assert manager.catalog.resolve(Target("tiny", alias="champion")).key == ("tiny", 1)


async def test_trial_tries_nothing_else_again_that_was_refused(
    tmp_path: Path, manager: ModelManager, follower: Follower
) -> None:
    flip_byte(write_tiny(tmp_path, version=3) / "model.onnx", 50)
    await manager.refresh()
    for share in (0.01, 0.05, 0.2):
        await Operator(manager).set_trial("tiny", "canary", TrafficSplit(1, share))
    assert follower.events.count("refused tiny v3 hash") == 1
    with pytest.raises(BundleRejectedError):
        await Operator(manager).set_trial("tiny", "canary", TrafficSplit(3, 0.1))
    assert manager.catalog.trials == [("tiny", 1, "canary", 0.2)]


@pytest.mark.parametrize("trial", [TrafficSplit("best", 0.1), TrafficSplit(1, 0.1, of="best")])
async def test_trial_of_an_alias_that_there_isn_t_is_refused(
    manager: ModelManager, trial: TrafficSplit
) -> None:
    with pytest.raises(NotFoundError, match="tiny has no alias 'best'; it has: none"):
        await Operator(manager).set_trial("tiny", "shadow", trial)


async def test_chance_is_asked_once_a_request(manager: ModelManager) -> None:
    await Operator(manager).set_trial("tiny", "canary", TrafficSplit(1, 0.5))
    targets = [Target("tiny") for _ in range(200)]
    first = [manager.catalog.route(target).key for target in targets]
    assert {key[1] for key in first} == {1, 2}
    assert [manager.catalog.route(target).key for target in targets] == first
