"""What a server fetches of a repository behind a URL."""

import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from support.remote import (
    FILES,
    Publish,
    StartServer,
    change_manifest,
    remove,
    set_alias,
    unreachable,
    upload,
)

from convscope.server.errors import (
    ReadOnlyError,
)
from convscope.server.repository.catalog import Target
from convscope.server.repository.operator import Operator

pytestmark = pytest.mark.usefixtures("quick_inspection")


async def test_selected_version_is_fetched_and_serves(start: StartServer, publish: Publish) -> None:
    source = [publish(version) for version in (1, 2, 3)][-1]
    server = start()
    await server.manager.reconcile()
    assert server.serving() == [3]
    assert server.cached() == [3]
    directory = server.sync.directory / "tiny" / "3"
    assert sorted(path.name for path in directory.iterdir()) == FILES
    assert all((directory / name).read_bytes() == (source / name).read_bytes() for name in FILES)
    assert (server.syncs.failures, len(server.syncs.at)) == (0, 1)


async def test_unchanged_remote_is_not_fetched_again(
    start: StartServer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    set_alias(champion=1)
    server = start()
    await server.manager.reconcile()
    events = list(server.follower.events)
    monkeypatch.setattr(MemoryFileSystem, "_open", unreachable)
    await server.manager.reconcile()
    assert (server.follower.events, server.syncs.failures) == (events, 0)


async def test_new_version_takes_over_and_the_old_one_leaves_the_cache(
    start: StartServer, publish: Publish
) -> None:
    publish(1)
    server = start()
    await server.manager.reconcile()
    publish(2)
    await server.manager.reconcile()
    assert (server.serving(), server.cached()) == ([2], [2])
    assert len(list((server.sync.directory / "tiny").iterdir())) == 2  # the link and its files


async def test_version_without_its_manifest_does_not_exist_yet(
    start: StartServer, publish: Publish
) -> None:
    publish(1)
    manifest = publish(2) / "manifest.json"
    remove("tiny/2/manifest.json")
    server = start()
    await server.manager.reconcile()
    assert (server.serving(), server.rejections) == ([1], [])
    upload("tiny/2/manifest.json", manifest.read_bytes())
    await server.manager.reconcile()
    assert server.serving() == [2]


async def test_version_that_the_remote_removes_retires(
    start: StartServer, publish: Publish
) -> None:
    for version in (1, 2):
        publish(version)
    server = start()
    await server.manager.reconcile()
    remove("tiny/2/manifest.json")
    await server.manager.reconcile()
    assert (server.serving(), server.cached()) == ([1], [1])


async def test_version_whose_files_are_replaced_is_fetched_again(
    start: StartServer, publish: Publish
) -> None:
    publish(1)
    server = start()
    await server.manager.reconcile()
    first = server.manager.catalog.resolve(Target("tiny"))
    relabel = change_manifest(lambda manifest: manifest.update(labels=["a", "b", "c"]))
    publish(1, damage=relabel)
    await server.manager.reconcile()
    await server.manager.close()
    assert server.manager.catalog.resolve(Target("tiny")).labels == ("a", "b", "c")
    assert server.manager.catalog.resolve(Target("tiny")) is not first
    assert len(list((server.sync.directory / "tiny").iterdir())) == 2


async def test_version_of_an_alias_is_fetched_and_the_alias_switches(
    start: StartServer, publish: Publish
) -> None:
    for version in (1, 2, 3):
        publish(version)
    set_alias(champion=1)
    server = start()
    await server.manager.reconcile()
    assert (server.champion, server.cached()) == (1, [1, 3])
    set_alias(champion=2)
    await server.manager.reconcile()
    assert (server.champion, server.cached()) == (2, [2, 3])
    remove("tiny/aliases.json")
    await server.manager.reconcile()
    assert (server.manager.catalog.aliases("tiny"), server.cached()) == ({}, [3])


@pytest.mark.parametrize("data", [b"{", b'{"a b": 1}', b" " * 2**21], ids=["cut", "name", "huge"])
async def test_invalid_aliases_change_nothing(
    start: StartServer, publish: Publish, data: bytes
) -> None:
    for version in (1, 2):
        publish(version)
    set_alias(champion=1)
    server = start()
    await server.manager.reconcile()
    upload("tiny/aliases.json", data)
    await server.manager.reconcile()
    assert (server.champion, server.serving()) == (1, [1, 2])
    set_alias(champion=2)
    await server.manager.reconcile()
    assert server.champion == 2


async def test_only_selected_models_are_fetched(start: StartServer, publish: Publish) -> None:
    for model in ("one", "two"):
        publish(model=model)
    server = start(models=frozenset({"two"}))
    await server.manager.reconcile()
    assert (server.cached("one"), server.cached("two")) == ([], [1])


async def test_version_loaded_on_demand_is_cached_before_its_first_request(
    start: StartServer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    server = start(on_demand=True)
    await server.manager.reconcile()
    await server.manager.reconcile()
    assert (server.serving(), server.cached()) == ([], [1])
    monkeypatch.setattr(MemoryFileSystem, "_open", unreachable)
    await server.manager.load_on_demand("tiny", 1)
    assert server.serving() == [1]


async def test_traffic_splits_of_a_remote_are_followed_and_cannot_be_set_here(
    start: StartServer, publish: Publish
) -> None:
    for version in (1, 2):
        publish(version)
    upload("tiny/traffic.json", b'{"shadow": {"to": 1, "share": 0.5}}')
    server = start()
    await server.manager.reconcile()
    assert server.manager.catalog.splits == [("tiny", 1, "shadow", 0.5)]
    assert server.serving() == [1, 2]
    upload("tiny/traffic.json", b'{"shadow": 5}')  # means nothing: the one before goes on
    await server.manager.reconcile()
    assert server.manager.catalog.splits == [("tiny", 1, "shadow", 0.5)]
    with pytest.raises(ReadOnlyError, match="convscope-exporter canary MODEL VERSION"):
        await Operator(server.manager).set_split("tiny", "canary", None)
