"""Repositories behind a URL, on a file system in memory: what arrives, and what stays."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from support.alterations import flip_byte
from support.loading import Follower, make_loader
from support.tiny import seal, write_tiny

from convscope.server.errors import (
    BundleRejectedError,
    NotFoundError,
    ReadOnlyError,
    StartError,
    UnavailableError,
)
from convscope.server.repository.catalog import Target
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.operator import Operator
from convscope.server.repository.remote.location import cache_directory
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.repository.selection import Selection

pytestmark = pytest.mark.usefixtures("quick_inspection")

MEMORY = fsspec.filesystem("memory")
URL = "memory://bucket/models"
NO_ROUTE = (
    "memory://bucket/models can't be read: no route to bucket; check the address and your access"
)
FILES = ["golden.npz", "manifest.json", "model.onnx"]


@pytest.fixture(autouse=True)
def bucket() -> Iterator[None]:
    yield
    if MEMORY.exists("/bucket"):
        MEMORY.rm("/bucket", recursive=True)


@dataclass
class Syncs:
    """Remembers how a mirror kept up."""

    at: list[float] = field(default_factory=list)
    failures: int = 0

    def synced(self, at: float) -> None:
        self.at.append(at)

    def sync_failed(self) -> None:
        self.failures += 1


@dataclass
class Server:
    """A keeper with the mirror that it follows."""

    sync: RepositorySync
    manager: ModelManager
    follower: Follower
    syncs: Syncs

    def answering(self, model: str = "tiny") -> list[int]:
        return [version.key[1] for version in self.manager.catalog if version.key[0] == model]

    def cached(self, model: str = "tiny") -> list[int]:
        """The versions that lie in the cache."""
        directory = self.sync.directory / model
        return sorted(int(path.name) for path in directory.glob("[0-9]*"))

    @property
    def rejections(self) -> list[tuple[int, str]]:
        return [(r.version, r.reason) for r in self.manager.catalog.rejections]

    @property
    def champion(self) -> int:
        return self.manager.catalog.aliases("tiny")["champion"]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Server]:
    """Make a server that never pauses after a failure; servers of one test share a cache."""

    def make(url: str = URL, **selection: Any) -> Server:
        syncs, follower = Syncs(), Follower()
        clock = count(step=1000)
        sync = RepositorySync(url, tmp_path / "caches", syncs, clock=lambda: next(clock))
        chosen = Selection(**selection)
        manager = ModelManager(sync.directory, make_loader(), chosen, follower, sync=sync)
        return Server(sync, manager, follower, syncs)

    return make


@pytest.fixture
def publish(tmp_path: Path) -> Callable[..., Path]:
    """Put a version where the URL leads, its manifest last, as the exporter does."""

    def put(
        version: int = 1,
        model: str = "tiny",
        damage: Callable[[Path], object] = lambda source: None,
    ) -> Path:
        source = tmp_path / "source" / model / str(version)
        shutil.rmtree(source, ignore_errors=True)
        write_tiny(tmp_path / "source", model, version)
        damage(source)
        for path in sorted(source.iterdir(), key=lambda path: path.name == "manifest.json"):
            upload(f"{model}/{version}/{path.name}", path.read_bytes())
        return source

    return put


def upload(path: str, data: bytes) -> None:
    MEMORY.pipe_file(f"/bucket/models/{path}", data)


def remove(path: str) -> None:
    MEMORY.rm(f"/bucket/models/{path}", recursive=True)


def set_alias(**aliases: int) -> None:
    upload("tiny/aliases.json", json.dumps(aliases).encode())


def flip(source: Path) -> None:
    flip_byte(source / "model.onnx", 50)


def change_manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(source: Path) -> None:
        path = source / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    return damage


def unreachable(*_: object, **__: object) -> None:
    raise ConnectionError("no route to bucket")


# What arrives


async def test_what_is_wanted_arrives_whole_and_answers(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    source = [publish(version) for version in (1, 2, 3)][-1]
    server = start()
    await server.manager.refresh()
    assert server.answering() == [3]
    assert server.cached() == [3]
    directory = server.sync.directory / "tiny" / "3"
    assert sorted(path.name for path in directory.iterdir()) == FILES
    assert all((directory / name).read_bytes() == (source / name).read_bytes() for name in FILES)
    assert (server.syncs.failures, len(server.syncs.at)) == (0, 1)


async def test_nothing_new_is_nothing_fetched(
    start: Callable[..., Server], publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    set_alias(champion=1)
    server = start()
    await server.manager.refresh()
    told = list(server.follower.events)
    monkeypatch.setattr(MemoryFileSystem, "_open", unreachable)
    await server.manager.refresh()
    assert (server.follower.events, server.syncs.failures) == (told, 0)


async def test_new_version_takes_over_and_the_old_one_leaves_the_cache(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    publish(1)
    server = start()
    await server.manager.refresh()
    publish(2)
    await server.manager.refresh()
    assert (server.answering(), server.cached()) == ([2], [2])
    assert len(list((server.sync.directory / "tiny").iterdir())) == 2  # the link and its files


async def test_version_without_its_manifest_is_not_there_yet(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    publish(1)
    manifest = publish(2) / "manifest.json"
    remove("tiny/2/manifest.json")
    server = start()
    await server.manager.refresh()
    assert (server.answering(), server.rejections) == ([1], [])
    upload("tiny/2/manifest.json", manifest.read_bytes())
    await server.manager.refresh()
    assert server.answering() == [2]


async def test_version_that_is_removed_there_retires_here(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    for version in (1, 2):
        publish(version)
    server = start()
    await server.manager.refresh()
    remove("tiny/2/manifest.json")
    await server.manager.refresh()
    assert (server.answering(), server.cached()) == ([1], [1])


async def test_version_whose_files_are_replaced_is_fetched_anew(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    publish(1)
    server = start()
    await server.manager.refresh()
    first = server.manager.catalog.resolve(Target("tiny"))
    relabel = change_manifest(lambda manifest: manifest.update(labels=["a", "b", "c"]))
    publish(1, damage=relabel)
    await server.manager.refresh()
    await server.manager.close()
    assert server.manager.catalog.resolve(Target("tiny")).labels == ("a", "b", "c")
    assert server.manager.catalog.resolve(Target("tiny")) is not first
    assert len(list((server.sync.directory / "tiny").iterdir())) == 2


async def test_alias_brings_its_version_and_switches(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    for version in (1, 2, 3):
        publish(version)
    set_alias(champion=1)
    server = start()
    await server.manager.refresh()
    assert (server.champion, server.cached()) == (1, [1, 3])
    set_alias(champion=2)
    await server.manager.refresh()
    assert (server.champion, server.cached()) == (2, [2, 3])
    remove("tiny/aliases.json")
    await server.manager.refresh()
    assert (server.manager.catalog.aliases("tiny"), server.cached()) == ({}, [3])


@pytest.mark.parametrize("data", [b"{", b'{"a b": 1}', b" " * 2**21], ids=["cut", "name", "huge"])
async def test_aliases_that_mean_nothing_change_nothing(
    start: Callable[..., Server], publish: Callable[..., Path], data: bytes
) -> None:
    for version in (1, 2):
        publish(version)
    set_alias(champion=1)
    server = start()
    await server.manager.refresh()
    upload("tiny/aliases.json", data)
    await server.manager.refresh()
    assert (server.champion, server.answering()) == (1, [1, 2])
    set_alias(champion=2)
    await server.manager.refresh()
    assert server.champion == 2


async def test_only_the_models_that_are_named_are_fetched(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    for model in ("one", "two"):
        publish(model=model)
    server = start(models=frozenset({"two"}))
    await server.manager.refresh()
    assert (server.cached("one"), server.cached("two")) == ([], [1])


async def test_what_sleeps_is_on_the_disk_before_it_is_asked_for(
    start: Callable[..., Server], publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    server = start(on_demand=True)
    await server.manager.refresh()
    await server.manager.refresh()
    assert (server.answering(), server.cached()) == ([], [1])
    monkeypatch.setattr(MemoryFileSystem, "_open", unreachable)
    await server.manager.demand("tiny", 1)
    assert server.answering() == [1]


# What isn't what it should be


def lie_about_size(manifest: dict[str, Any]) -> None:
    manifest["files"][0]["size_bytes"] = 10


def claim_a_terabyte(manifest: dict[str, Any]) -> None:
    manifest["files"][0]["size_bytes"] = 2**40


def climb_out(manifest: dict[str, Any]) -> None:
    manifest["files"][0]["name"] = "../../../evil.onnx"


def list_twice(manifest: dict[str, Any]) -> None:
    manifest["files"].append(manifest["files"][0])


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "hash": (flip, "hash", "the SHA-256 of model.onnx is"),
    "size": (change_manifest(lie_about_size), "hash", "the manifest says 10"),
    "terabyte": (change_manifest(claim_a_terabyte), "files", "at most 1,073,741,824 are allowed"),
    "climb": (change_manifest(climb_out), "manifest", "the manifest lists ../../../evil.onnx"),
    "twice": (change_manifest(list_twice), "manifest", "the manifest lists"),
    "no-manifest": (
        lambda source: (source / "manifest.json").write_text("{"),
        *("manifest", "manifest.json is not a manifest"),
    ),
    "huge-manifest": (
        lambda source: (source / "manifest.json").write_bytes(b" " * (2**22 + 1)),
        *("files", "manifest.json has more than the 4,194,304 bytes"),
    ),
    "extra": (
        lambda source: (source / "setup.py").write_text("print()"),
        *("files", "setup.py doesn't belong to a bundle"),
    ),
    "missing": (lambda source: (source / "golden.npz").unlink(), "files", "golden.npz is missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_damaged_version_is_refused_and_the_older_answers(
    start: Callable[..., Server], publish: Callable[..., Path], name: str, tmp_path: Path
) -> None:
    damage, reason, message = DAMAGES[name]
    publish(1)
    publish(2, damage=damage)
    server = start()
    for _ in range(3):
        await server.manager.refresh()
    assert (server.answering(), server.cached()) == ([1], [1])
    (rejection,) = server.manager.catalog.rejections
    assert (rejection.model, rejection.version, rejection.reason) == ("tiny", 2, reason)
    assert message in rejection.message
    assert server.follower.events.count(f"refused tiny v2 {reason}") == 1
    assert server.syncs.failures == 0
    assert not list(tmp_path.rglob("evil*"))
    assert not list(tmp_path.rglob(".tmp-*"))


async def test_damaged_version_is_tried_again_when_it_changes_there(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    publish(1)
    publish(2, damage=flip)
    server = start()
    await server.manager.refresh()
    publish(2)
    await server.manager.refresh()
    assert (server.answering(), server.rejections, server.cached()) == ([2], [], [2])


async def test_damaged_version_that_is_removed_is_no_longer_told(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    publish(1)
    publish(2, damage=flip)
    server = start()
    await server.manager.refresh()
    remove("tiny/2")
    await server.manager.refresh()
    assert (server.answering(), server.rejections) == ([1], [])
    assert server.follower.events[-1] == "settled"


async def test_version_that_fails_at_load_gives_way_and_is_fetched_once(
    start: Callable[..., Server], publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil_graph(source: Path) -> None:
        (source / "model.onnx").write_bytes(b"no graph")
        seal(source)

    publish(1)
    publish(2, damage=spoil_graph)
    server = start()
    await server.manager.refresh()
    assert (server.answering(), server.rejections) == ([1], [(2, "graph")])
    monkeypatch.setattr(MemoryFileSystem, "_open", unreachable)
    await server.manager.refresh()
    assert (server.answering(), server.syncs.failures) == ([1], 0)


# What can't be reached


async def test_listing_that_fails_changes_nothing(
    start: Callable[..., Server], publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    server = start()
    await server.manager.refresh()
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "find", unreachable)
        await server.manager.refresh()
    assert (server.answering(), server.cached()) == ([1], [1])
    assert (server.sync.problem, server.syncs.failures) == (NO_ROUTE, 1)
    await server.manager.refresh()
    assert server.sync.problem is None
    assert len(server.syncs.at) == 2


async def test_listing_of_nothing_is_not_believed(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    publish()
    server = start()
    await server.manager.refresh()
    remove("tiny")
    await server.manager.refresh()
    assert (server.answering(), server.cached()) == ([1], [1])
    assert server.sync.problem == "it lists no model at all, and had some before"


async def test_version_that_breaks_off_is_tried_again_and_concerns_no_other(
    start: Callable[..., Server], publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
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
        await server.manager.refresh()
    assert (server.answering("one"), server.answering("two")) == ([], [1])
    assert server.sync.problem is not None
    assert server.sync.problem.startswith("one v1 can't be fetched: memory://bucket/models can't")
    assert "reset by peer" in server.sync.problem
    assert server.rejections == []
    await server.manager.refresh()
    assert server.answering("one") == [1]


async def test_start_without_the_remote_serves_what_is_cached(
    start: Callable[..., Server], publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        publish(version)
    set_alias(champion=1)
    before = start()
    await before.manager.refresh()
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "find", unreachable)
        server = start()
        await server.manager.refresh()
        assert (server.answering(), server.champion) == ([1, 2], 1)
        assert server.syncs.at == before.syncs.at
    told = list(server.follower.events)
    await server.manager.refresh()
    assert server.follower.events == told  # what is there again is the same


@pytest.mark.parametrize("killed", [False, True], ids=["fails", "killed"])
@pytest.mark.parametrize("others", [{}, {"challenger": 1}], ids=["moved", "moved-and-new"])
async def test_alias_in_the_cache_names_what_is_there_until_its_new_version_is(
    start: Callable[..., Server],
    publish: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    killed: bool,
    others: dict[str, int],
) -> None:
    publish(1)
    set_alias(champion=1)
    await start().manager.refresh()
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
            await before.manager.refresh()
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "find", unreachable)
        server = start()
        await server.manager.refresh()
        kept = {} if killed else others
        assert server.manager.catalog.aliases("tiny") == {"champion": 1, **kept}
        champion = server.manager.catalog.resolve(Target("tiny", alias="champion"))
        assert champion.key == ("tiny", 1)
    await server.manager.refresh()
    assert server.manager.catalog.aliases("tiny") == {"champion": 2, **others}


async def test_version_that_is_withdrawn_stays_cached_until_its_successor_is_there(
    start: Callable[..., Server], publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    await start().manager.refresh()
    publish(2)
    remove("tiny/1")
    before = start()

    def die(*_: object, **__: object) -> None:
        assert before.cached() == [1]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "_open", die)
        with pytest.raises(KeyboardInterrupt):
            await before.manager.refresh()
    assert before.cached() == [1]
    await before.manager.refresh()
    assert (before.answering(), before.cached()) == ([2], [2])


@pytest.mark.parametrize("on_demand", [False, True], ids=["loaded", "dormant"])
async def test_cached_version_stays_until_its_successor_is_there(
    start: Callable[..., Server],
    publish: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    on_demand: bool,
) -> None:
    publish(1)
    server = start(on_demand=on_demand)
    await server.manager.refresh()
    publish(2)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "_open", unreachable)
        await server.manager.refresh()
    assert server.cached() == [1]
    await server.manager.demand("tiny", 1)
    assert server.answering() == [1]


def test_after_failures_there_are_longer_and_longer_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, looked = [0.0], []

    def fail(*_: object, **__: object) -> None:
        looked.append(now[0])
        raise ConnectionError("no route")

    monkeypatch.setattr(MemoryFileSystem, "find", fail)
    sync = RepositorySync(URL, tmp_path, Syncs(), clock=lambda: now[0])
    for second in range(200):
        now[0] = float(second)
        assert sync.look() is None
    assert looked == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    sync.try_again("tiny", [])
    sync.look()
    assert looked[-1] == 199


def test_polling_goes_on_after_days_of_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = []

    def fail(*_: object, **__: object) -> None:
        listed.append(None)
        raise ConnectionError("no route")

    monkeypatch.setattr(MemoryFileSystem, "find", fail)
    minutes = count(step=60)
    sync = RepositorySync(URL, tmp_path, Syncs(), clock=lambda: float(next(minutes)))
    for _ in range(1100):
        assert sync.look() is None
    assert len(listed) >= 1000


# What an operator asks for


async def test_operator_gets_what_was_published_a_moment_ago(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    for version in (1, 2):
        publish(version)
    server = start()
    await server.manager.refresh()
    publish(3)
    await Operator(server.manager).load("tiny")
    assert server.answering() == [3]
    await Operator(server.manager).load("tiny", 1)
    assert (server.answering(), server.cached()) == ([1, 3], [1, 3])
    with pytest.raises(NotFoundError, match="no version 9; the repository has: 1, 2, 3"):
        await Operator(server.manager).load("tiny", 9)
    with pytest.raises(NotFoundError, match="no model 'cat'; the repository has: tiny"):
        await Operator(server.manager).load("cat")
    assert server.manager.catalog.names == ["tiny"]
    await Operator(server.manager).unload("tiny", 1)
    assert server.answering() == [3]


async def test_operator_learns_what_is_damaged_and_what_cannot_be_reached(
    start: Callable[..., Server], publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    server = start()
    await server.manager.refresh()
    publish(2, damage=flip)
    with pytest.raises(BundleRejectedError, match="tiny v2 was refused: the SHA-256"):
        await Operator(server.manager).load("tiny")
    monkeypatch.setattr(MemoryFileSystem, "find", unreachable)
    with pytest.raises(UnavailableError, match=r"can't be followed: .* no route to bucket;"):
        await Operator(server.manager).load("tiny")
    assert server.answering() == [1]


async def test_what_rotted_in_the_cache_is_fetched_anew_at_a_load(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    publish()
    before = start()
    await before.manager.refresh()
    flip_byte(before.sync.directory / "tiny" / "1" / "model.onnx", 50)
    server = start()
    await server.manager.refresh()
    assert server.rejections == [(1, "hash")]
    await Operator(server.manager).load("tiny")
    assert (server.answering(), server.rejections) == ([1], [])


async def test_aliases_are_written_where_the_repository_is(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    publish()
    server = start()
    await server.manager.refresh()
    with pytest.raises(ReadOnlyError, match="convscope-exporter promote MODEL VERSION"):
        await Operator(server.manager).set_alias("tiny", "champion", 1)


# One cache, several servers


async def test_servers_that_want_other_versions_share_a_cache(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    for version in (1, 2, 3):
        publish(version)
    one, two = start(latest=1), start(latest=2)
    for _ in range(2):
        await asyncio.gather(one.manager.refresh(), two.manager.refresh())
    assert (one.answering(), two.answering()) == ([3], [2, 3])
    assert one.cached() == [2, 3]
    publish(4)
    await one.manager.refresh()
    assert (one.answering(), one.cached()) == ([4], [2, 3, 4])
    await two.manager.refresh()
    await one.manager.refresh()
    assert (two.answering(), one.cached()) == ([3, 4], [3, 4])


async def test_second_server_fetches_nothing_again(
    start: Callable[..., Server], publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    await start().manager.refresh()
    monkeypatch.setattr(MemoryFileSystem, "_open", unreachable)
    server = start()
    await server.manager.refresh()
    assert (server.answering(), server.syncs.failures) == ([1], 0)


async def test_server_that_looked_earlier_undoes_nothing_of_one_that_looked_later(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    publish(1)
    earlier, later = start(), start()
    await later.manager.refresh()
    assert earlier.sync.look() is not None
    publish(2)
    await later.manager.refresh()
    assert earlier.sync.fetch({"tiny": {1}}) == []
    assert 2 in later.cached()


KILLED = """
import sys
from pathlib import Path
from fsspec.implementations.memory import MemoryFileSystem
from convscope.server.repository.remote.sync import RepositorySync

source, caches = map(Path, sys.argv[1:])
system = MemoryFileSystem()
for path in source.iterdir():
    system.pipe_file(f"/bucket/models/tiny/1/{path.name}", path.read_bytes())

class Endless:
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def read(self, _):
        print("reading", flush=True)
        sys.stdin.read()  # until the end, which a kill brings

whole = MemoryFileSystem._open
def slow(self, path, *rest, **options):
    return Endless() if path.endswith("onnx") else whole(self, path, *rest, **options)
MemoryFileSystem._open = slow
class Nobody:
    def synced(self, at): pass
    def sync_failed(self): pass
mirror = RepositorySync("memory://bucket/models", caches, Nobody())
mirror.look()
mirror.fetch({"tiny": [1]})
"""


async def test_server_that_is_killed_while_it_fetches_leaves_nothing_half(
    start: Callable[..., Server], publish: Callable[..., Path], tmp_path: Path
) -> None:
    source = publish()
    server = start()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(source), str(tmp_path / "caches")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        assert list((server.sync.directory / "tiny").glob(".tmp-*"))
        os.kill(process.pid, signal.SIGKILL)
    assert server.cached() == []
    await server.manager.refresh()
    assert server.answering() == [1]
    assert not list((server.sync.directory / "tiny").glob(".tmp-*"))


# Where it is


def test_url_has_a_readable_directory_of_its_own_without_its_secrets(tmp_path: Path) -> None:
    names = {
        url: cache_directory(tmp_path, url).name
        for url in (
            *("s3://bucket/models", "s3://bucket/models/", "s3://bucket-models"),
            *("https://me:pass@host/models?token=pass", "https://host/models"),
        )
    }
    one, same, other, secret, plain = names.values()
    assert one == same
    assert one.startswith("s3-bucket-models-")
    assert one != other
    assert secret == plain
    assert "pass" not in secret


@pytest.mark.parametrize(
    ("url", "package"),
    [("s3://b/models", "s3fs"), ("gs://b/models", "gcsfs"), ("hf://u/m", "huggingface_hub")],
)
def test_file_system_that_is_not_installed_names_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it weren't installed
    with pytest.raises(StartError, match=f"isn't installed: pip install {package}"):
        RepositorySync(url, tmp_path, Syncs())


def test_url_of_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no file system is known for nowhere://"):
        RepositorySync("nowhere://b/models", tmp_path, Syncs())


def test_cache_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="name another place with --repository-cache"):
        RepositorySync(URL, tmp_path / "file", Syncs())


def test_secrets_of_a_url_are_in_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("can't connect to memory://me:secret@bucket/models?token=hidden")

    monkeypatch.setattr(MemoryFileSystem, "find", refuse)
    sync = RepositorySync("memory://me:secret@bucket/models?token=hidden", tmp_path, Syncs())
    assert sync.look() is None
    assert sync.problem is not None
    assert "can't connect to memory://…@bucket/models?…" in sync.problem
    assert sync.url == "memory://bucket/models"


@pytest.mark.parametrize(
    "url",
    [
        "zip://models::https://me:secret@host/a.zip",
        "simplecache::memory://me:secret@bucket/models",
        "file://models::https://me:secret@host/a.zip",
    ],
)
def test_chain_of_urls_is_refused_without_its_secrets(tmp_path: Path, url: str) -> None:
    with pytest.raises(StartError, match=r"--models can't be used: .* chain") as caught:
        RepositorySync(url, tmp_path, Syncs())
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_server_of_a_directory_does_not_load_fsspec() -> None:
    code = "import sys; import convscope.server.app; print('fsspec' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


async def test_trials_of_the_remote_are_followed_and_written_there(
    start: Callable[..., Server], publish: Callable[..., Path]
) -> None:
    for version in (1, 2):
        publish(version)
    upload("tiny/traffic.json", b'{"shadow": {"to": 1, "share": 0.5}}')
    server = start()
    await server.manager.refresh()
    assert server.manager.catalog.trials == [("tiny", 1, "shadow", 0.5)]
    assert server.answering() == [1, 2]
    upload("tiny/traffic.json", b'{"shadow": 5}')  # means nothing: the one before goes on
    await server.manager.refresh()
    assert server.manager.catalog.trials == [("tiny", 1, "shadow", 0.5)]
    with pytest.raises(ReadOnlyError, match="convscope-exporter canary MODEL VERSION"):
        await Operator(server.manager).set_trial("tiny", "canary", None)
