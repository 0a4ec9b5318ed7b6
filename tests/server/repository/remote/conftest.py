import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.loading import Follower, make_loader
from support.remote import MEMORY, URL, Publish, Server, StartServer, Syncs, upload
from support.tiny import write_tiny

from convscope.server.repository.manager import ModelManager
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.repository.selection import Selection


@pytest.fixture(autouse=True)
def bucket() -> Iterator[None]:
    yield
    if MEMORY.exists("/bucket"):
        MEMORY.rm("/bucket", recursive=True)


@pytest.fixture
def start(tmp_path: Path) -> StartServer:
    """Make a server that doesn't pause after a failure; the servers of a test share a cache."""

    def make(url: str = URL, **selection: Any) -> Server:
        syncs, follower = Syncs(), Follower()
        clock = count(step=1000)
        sync = RepositorySync(url, tmp_path / "caches", syncs, clock=lambda: next(clock))
        chosen = Selection(**selection)
        manager = ModelManager(sync.directory, make_loader(), chosen, follower, sync=sync)
        return Server(sync, manager, follower, syncs)

    return make


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """Upload a version, its manifest last, as the exporter does."""

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
