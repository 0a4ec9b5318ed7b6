"""Several servers share one cache, and one of them may be killed."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from support.remote import (
    Publish,
    StartServer,
    unreachable,
)

pytestmark = pytest.mark.usefixtures("quick_inspection")


async def test_servers_with_different_selections_share_a_cache(
    start: StartServer, publish: Publish
) -> None:
    for version in (1, 2, 3):
        publish(version)
    one, two = start(latest=1), start(latest=2)
    for _ in range(2):
        await asyncio.gather(one.manager.reconcile(), two.manager.reconcile())
    assert (one.serving(), two.serving()) == ([3], [2, 3])
    assert one.cached() == [2, 3]
    publish(4)
    await one.manager.reconcile()
    assert (one.serving(), one.cached()) == ([4], [2, 3, 4])
    await two.manager.reconcile()
    await one.manager.reconcile()
    assert (two.serving(), one.cached()) == ([3, 4], [3, 4])


async def test_second_server_uses_the_cache(
    start: StartServer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    await start().manager.reconcile()
    monkeypatch.setattr(MemoryFileSystem, "_open", unreachable)
    server = start()
    await server.manager.reconcile()
    assert (server.serving(), server.syncs.failures) == ([1], 0)


async def test_server_with_an_older_listing_undoes_nothing_of_a_newer_one(
    start: StartServer, publish: Publish
) -> None:
    publish(1)
    earlier, later = start(), start()
    await later.manager.reconcile()
    assert earlier.sync.list_models() is not None
    publish(2)
    await later.manager.reconcile()
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
class Observer:
    def synced(self, at): pass
    def sync_failed(self): pass
sync = RepositorySync("memory://bucket/models", caches, Observer())
sync.list_models()
sync.fetch({"tiny": [1]})
"""


async def test_server_killed_during_a_fetch_leaves_no_partial_version(
    start: StartServer, publish: Publish, tmp_path: Path
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
    await server.manager.reconcile()
    assert server.serving() == [1]
    assert not list((server.sync.directory / "tiny").glob(".tmp-*"))
