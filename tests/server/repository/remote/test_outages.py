"""A remote that cannot be reached, or breaks off, changes nothing that serves."""

from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from structlog.testing import capture_logs
from support.remote import (
    URL,
    Publish,
    StartServer,
    Syncs,
    remove,
    set_alias,
    unreachable,
)

from convscope.server.repository.catalog import Target
from convscope.server.repository.remote.sync import RepositorySync

pytestmark = pytest.mark.usefixtures("quick_inspection")


async def test_listing_that_fails_changes_nothing(
    start: StartServer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    server = start()
    await server.manager.reconcile()
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "find", unreachable)
        await server.manager.reconcile()
    assert (server.serving(), server.cached()) == ([1], [1])
    assert server.sync.problem == (
        f"{URL} can't be read: no route to bucket; check the address and your access"
    )
    assert server.syncs.failures == 1
    await server.manager.reconcile()
    assert server.sync.problem is None
    assert len(server.syncs.at) == 2


async def test_empty_listing_changes_nothing(start: StartServer, publish: Publish) -> None:
    publish()
    server = start()
    await server.manager.reconcile()
    remove("tiny")
    await server.manager.reconcile()
    assert (server.serving(), server.cached()) == ([1], [1])
    assert server.sync.problem == "it lists no models, but listed some before"


async def test_interrupted_fetch_is_repeated_and_does_not_stop_other_models(
    start: StartServer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1, "one")
    publish(1, "two")
    server = start()
    whole = MemoryFileSystem._open

    def break_off(self: Any, path: str, *rest: Any, **options: Any) -> Any:
        if path.endswith("one/1/model.onnx"):
            raise ConnectionResetError("reset by peer")
        return whole(self, path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "_open", break_off)
        await server.manager.reconcile()
    assert (server.serving("one"), server.serving("two")) == ([], [1])
    assert server.sync.problem is not None
    assert server.sync.problem.startswith("one v1 can't be fetched: memory://bucket/models can't")
    assert "reset by peer" in server.sync.problem
    assert server.rejections == []
    await server.manager.reconcile()
    assert server.serving("one") == [1]


async def test_start_without_the_remote_serves_what_is_cached(
    start: StartServer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        publish(version)
    set_alias(champion=1)
    before = start()
    await before.manager.reconcile()
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "find", unreachable)
        server = start()
        await server.manager.reconcile()
        assert (server.serving(), server.champion) == ([1, 2], 1)
        assert server.syncs.at == before.syncs.at
    events = list(server.follower.events)
    await server.manager.reconcile()
    assert server.follower.events == events  # what is there again is the same


@pytest.mark.parametrize("killed", [False, True], ids=["fails", "killed"])
@pytest.mark.parametrize("others", [{}, {"challenger": 1}], ids=["moved", "moved-and-new"])
async def test_cached_alias_names_a_cached_version_until_the_new_one_is_fetched(
    start: StartServer,
    publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
    killed: bool,
    others: dict[str, int],
) -> None:
    publish(1)
    set_alias(champion=1)
    await start().manager.reconcile()
    publish(2)
    set_alias(champion=2, **others)
    before = start()
    whole = MemoryFileSystem._open

    def break_off(self: Any, path: str, *rest: Any, **options: Any) -> Any:
        if path.endswith("2/model.onnx"):
            raise KeyboardInterrupt if killed else ConnectionResetError("reset by peer")
        return whole(self, path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "_open", break_off)
        with suppress(KeyboardInterrupt):
            await before.manager.reconcile()
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "find", unreachable)
        server = start()
        await server.manager.reconcile()
        kept = {} if killed else others
        assert server.manager.catalog.aliases("tiny") == {"champion": 1, **kept}
        champion = server.manager.catalog.resolve(Target("tiny", alias="champion"))
        assert champion.key == ("tiny", 1)
    await server.manager.reconcile()
    assert server.manager.catalog.aliases("tiny") == {"champion": 2, **others}


async def test_withdrawn_version_stays_cached_until_its_successor_is_fetched(
    start: StartServer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    await start().manager.reconcile()
    publish(2)
    remove("tiny/1")
    before = start()

    def die(*_: object, **__: object) -> None:
        assert before.cached() == [1]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "_open", die)
        with pytest.raises(KeyboardInterrupt):
            await before.manager.reconcile()
    assert before.cached() == [1]
    await before.manager.reconcile()
    assert (before.serving(), before.cached()) == ([2], [2])


@pytest.mark.parametrize("on_demand", [False, True], ids=["loaded", "unloaded"])
async def test_cached_version_stays_until_its_successor_is_fetched(
    start: StartServer,
    publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
    on_demand: bool,
) -> None:
    publish(1)
    server = start(on_demand=on_demand)
    await server.manager.reconcile()
    publish(2)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "_open", unreachable)
        await server.manager.reconcile()
    assert server.cached() == [1]
    await server.manager.load_on_demand("tiny", 1)
    assert server.serving() == [1]


def test_pauses_grow_with_each_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, looked = [0.0], []

    def fail(*_: object, **__: object) -> None:
        looked.append(now[0])
        raise ConnectionError("no route")

    monkeypatch.setattr(MemoryFileSystem, "find", fail)
    sync = RepositorySync(URL, tmp_path, Syncs(), clock=lambda: now[0])
    for second in range(200):
        now[0] = float(second)
        assert sync.list_models() is None
    assert looked == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    sync.refetch("tiny", [])
    sync.list_models()
    assert looked[-1] == 199


def test_polling_continues_after_a_day_of_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[None] = []

    def fail(*_: object, **__: object) -> None:
        listed.append(None)
        raise ConnectionError("no route")

    monkeypatch.setattr(MemoryFileSystem, "find", fail)
    minutes = count(step=60)
    sync = RepositorySync(URL, tmp_path, Syncs(), clock=lambda: float(next(minutes)))
    for _ in range(1100):
        assert sync.list_models() is None
    assert len(listed) >= 1000


@pytest.mark.parametrize(
    ("cached", "outcome"), [(False, "nothing of it is cached"), (True, "the cached versions serve")]
)
async def test_warning_says_what_serves(
    start: StartServer,
    publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
    cached: bool,
    outcome: str,
) -> None:
    publish()
    server = start()
    if cached:
        await server.manager.reconcile()
    monkeypatch.setattr(MemoryFileSystem, "find", unreachable)
    with capture_logs() as logs:
        await server.manager.reconcile()
    assert logs[0]["event"] == f"repository is not available; {outcome}"
