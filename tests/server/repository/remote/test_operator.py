"""What an operator can do on a server that follows a remote."""

import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from support.alterations import flip_byte
from support.remote import (
    Publish,
    StartServer,
    unreachable,
)
from support.repositories import corrupt

from convscope.server.errors import (
    BundleRejectedError,
    NotFoundError,
    ReadOnlyError,
    UnavailableError,
)
from convscope.server.repository.operator import Operator

pytestmark = pytest.mark.usefixtures("quick_inspection")


async def test_operator_loads_what_was_just_published(start: StartServer, publish: Publish) -> None:
    for version in (1, 2):
        publish(version)
    server = start()
    await server.manager.reconcile()
    publish(3)
    await Operator(server.manager).load("tiny")
    assert server.serving() == [3]
    await Operator(server.manager).load("tiny", 1)
    assert (server.serving(), server.cached()) == ([1, 3], [1, 3])
    with pytest.raises(NotFoundError, match="no version 9; the repository has: 1, 2, 3"):
        await Operator(server.manager).load("tiny", 9)
    with pytest.raises(NotFoundError, match="no model 'cat'; the repository has: tiny"):
        await Operator(server.manager).load("cat")
    assert server.manager.catalog.names == ["tiny"]
    await Operator(server.manager).unload("tiny", 1)
    assert server.serving() == [3]


async def test_operator_sees_what_is_damaged_and_what_cannot_be_reached(
    start: StartServer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    server = start()
    await server.manager.reconcile()
    publish(2, damage=corrupt)
    with pytest.raises(BundleRejectedError, match="tiny v2 was rejected: the SHA-256"):
        await Operator(server.manager).load("tiny")
    monkeypatch.setattr(MemoryFileSystem, "find", unreachable)
    with pytest.raises(UnavailableError, match=r"is not available: .* no route to bucket;"):
        await Operator(server.manager).load("tiny")
    assert server.serving() == [1]


async def test_a_load_that_cannot_reach_the_remote_changes_nothing(
    start: StartServer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        publish(version)
    server = start()
    await server.manager.reconcile()
    await Operator(server.manager).unload("tiny")
    before = server.manager.desired.to_json()
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "find", unreachable)
        with pytest.raises(UnavailableError):
            await Operator(server.manager).load("tiny", 1)
    assert (server.manager.desired.to_json(), server.serving()) == (before, [])
    await server.manager.reconcile()
    assert server.serving() == []


async def test_version_damaged_in_the_cache_is_fetched_again_at_a_load(
    start: StartServer, publish: Publish
) -> None:
    publish()
    before = start()
    await before.manager.reconcile()
    flip_byte(before.sync.directory / "tiny" / "1" / "model.onnx", 50)
    server = start()
    await server.manager.reconcile()
    assert server.rejections == [(1, "hash")]
    await Operator(server.manager).load("tiny")
    assert (server.serving(), server.rejections) == ([1], [])


async def test_aliases_of_a_remote_cannot_be_set_here(start: StartServer, publish: Publish) -> None:
    publish()
    server = start()
    await server.manager.reconcile()
    with pytest.raises(ReadOnlyError, match="convscope-exporter promote MODEL VERSION"):
        await Operator(server.manager).set_alias("tiny", "champion", 1)
