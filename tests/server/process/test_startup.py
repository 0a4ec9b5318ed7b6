"""The start of a server whose remote does not respond: it stops on a signal or serves its cache."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from support.calls import LOOPBACK, connected, image_request
from support.loading import Follower, make_loader
from support.repositories import corrupt, set_alias
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.server.errors import BundleRejectedError, StartError
from convscope.server.observability.metrics import Metrics
from convscope.server.process.startup import catch_up, first_load, open_repository
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.remote.cache import Cache
from convscope.server.repository.remote.location import cache_directory
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.repository.settings import RepositorySettings
from convscope.server.runtime.loading import Loader
from convscope.server.runtime.versions import LoadedVersion

URL = "memory://silent/models"
UNFOLLOWED = "repository is not available; the cached versions serve"


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts connections and never sends anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        yield listener


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}/models"


def cache_one(caches: Path, url: str) -> Path:
    """Write version 1 of "tiny" to the cache of a URL, as a fetch does."""
    directory = cache_directory(caches, url)
    version = write_tiny(directory)
    version.rename(version.with_name(".1-0123456789abcdef")).with_name("1").symlink_to(
        ".1-0123456789abcdef"
    )
    return directory


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_while_the_remote_is_silent_ends_the_server_with_0(
    silent: socket.socket, tmp_path: Path, number: int
) -> None:
    command = [sys.executable, "-m", "convscope.server", "--models", url_of(silent), *LOOPBACK]
    command += ["--repository-cache", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        connection, _ = silent.accept()
        with connection:
            process.send_signal(number)
            assert process.stderr is not None
            log = process.stderr.read()
            assert process.wait(30) == 0
    assert "Traceback" not in log


@pytest.mark.slow
def test_cached_version_is_served_while_the_remote_is_silent(
    silent: socket.socket, tmp_path: Path
) -> None:
    cache_one(tmp_path, url_of(silent))
    flags = ("--repository-cache", str(tmp_path))
    with ServerProcess(url_of(silent), *flags) as server, connected(server) as stub:
        assert stub.Classify(image_request(), timeout=30).version == 1
        (warning,) = [line for line in server.log if line["event"] == UNFOLLOWED]
        assert "have not arrived within 10 s" in warning["reason"]
        assert server.stop() == 0


@contextmanager
def silent_listing(_: Path) -> Iterator[None]:
    released, whole = Event(), MemoryFileSystem.find

    def wait(*arguments: Any, **options: Any) -> Any:
        released.wait()
        return whole(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryFileSystem, "find", wait)
        try:
            yield
        finally:
            released.set()


def downloading_elsewhere(directory: Path) -> Any:
    return Cache(directory).locked()


@pytest.mark.parametrize("blocked_by", [silent_listing, downloading_elsewhere])
@pytest.mark.usefixtures("memory")
async def test_cached_version_is_served_until_the_remote_responds(
    tmp_path: Path, blocked_by: Callable[[Path], Any]
) -> None:
    directory = cache_one(tmp_path, URL)
    settings = RepositorySettings(models=URL, repository_cache=tmp_path)
    stop = asyncio.Event()
    with blocked_by(directory):
        opened = await open_repository(settings, Metrics(), stop)
        assert opened is not None
        root, sync = opened
        manager = make_manager(root, sync, settings)
        reconciling = await first_load(settings, manager, sync, stop, remote_timeout_seconds=0.01)
        assert [version.key for version in manager.catalog] == [("tiny", 1)]
        assert not reconciling.done()
    await reconciling
    assert [version.key for version in manager.catalog] == [("tiny", 2)]


@pytest.mark.usefixtures("memory")
async def test_server_without_a_cache_waits_for_the_remote_until_stopped(tmp_path: Path) -> None:
    settings = RepositorySettings(models=URL, repository_cache=tmp_path)
    stop = asyncio.Event()
    with silent_listing(tmp_path):
        opened = await open_repository(settings, Metrics(), stop)
        assert opened is not None
        manager = make_manager(*opened, settings)
        loading = asyncio.create_task(
            first_load(settings, manager, opened[1], stop, remote_timeout_seconds=0.01)
        )
        done, _ = await asyncio.wait({loading}, timeout=0.1)
        assert not done
        stop.set()
        reconciling = await loading
        assert list(manager.catalog) == []
        with pytest.raises(asyncio.CancelledError):
            await reconciling


def unloaded(*versions: int) -> dict[str, Any]:
    """Return what operators changed if they unloaded versions of "tiny", or all without any."""
    return {"tiny": {"pinned": [], "excluded": versions, "excludes_model": not versions}}


async def test_a_worker_starts_although_operators_unloaded_everything(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    settings = RepositorySettings(models=str(tmp_path))
    manager = make_manager(tmp_path, None, settings, unloaded())
    await first_load(settings, manager, None, asyncio.Event())
    assert (list(manager.catalog), manager.models_on_disk) == ([], ["tiny"])
    manager.desired.replace({})
    await catch_up(manager, asyncio.Event())
    assert [version.key for version in manager.catalog] == [("tiny", 1)]


async def test_a_worker_starts_although_operators_unloaded_the_only_good_version(
    tmp_path: Path,
) -> None:
    corrupt(write_tiny(tmp_path, version=1))
    write_tiny(tmp_path, version=2)
    settings = RepositorySettings(models=str(tmp_path))
    manager = make_manager(tmp_path, None, settings, unloaded(2))
    await first_load(settings, manager, None, asyncio.Event())
    assert [(r.version, r.reason) for r in manager.catalog.rejections] == [(1, "hash")]
    assert list(manager.catalog) == []


async def test_a_repository_that_is_empty_is_a_failed_start_whatever_operators_unloaded(
    tmp_path: Path,
) -> None:
    settings = RepositorySettings(models=str(tmp_path))
    manager = make_manager(tmp_path, None, settings, unloaded(1))
    with pytest.raises(StartError, match="holds no model"):
        await first_load(settings, manager, None, asyncio.Event())


async def test_a_worker_follows_changes_that_leave_no_overrides_before_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    settings, stop = RepositorySettings(models=str(tmp_path)), asyncio.Event()
    manager = make_manager(tmp_path, None, settings)
    load = Loader.load

    def fail_once(*_: object, **__: object) -> LoadedVersion:
        monkeypatch.setattr(Loader, "load", load)
        raise BundleRejectedError("provider", "the GPU has no memory left")

    monkeypatch.setattr(Loader, "load", fail_once)
    await first_load(settings, manager, None, stop)
    assert [version.key for version in manager.catalog] == [("tiny", 1)]
    set_alias(tmp_path, champion=1)
    await catch_up(manager, stop)  # an operator has loaded version 2 again, and set an alias
    assert [version.key for version in manager.catalog] == [("tiny", 1), ("tiny", 2)]
    assert manager.catalog.aliases("tiny") == {"champion": 1}


@pytest.mark.usefixtures("memory")
async def test_a_worker_serves_although_the_remote_of_a_change_is_silent(tmp_path: Path) -> None:
    cache_one(tmp_path, URL)
    settings = RepositorySettings(models=URL, repository_cache=tmp_path)
    stop = asyncio.Event()
    opened = await open_repository(settings, Metrics(), stop)
    assert opened is not None
    manager = make_manager(*opened, settings)
    await first_load(settings, manager, opened[1], stop)
    assert [version.key for version in manager.catalog] == [("tiny", 2)]
    manager.desired.replace(unloaded())
    with silent_listing(tmp_path):
        reconciling = await catch_up(manager, stop, remote_timeout_seconds=0.01)
        assert list(manager.catalog) == []
        assert not reconciling.done()
    await reconciling


@pytest.mark.usefixtures("memory")
async def test_a_worker_starts_although_operators_unloaded_all_that_a_remote_has(
    tmp_path: Path,
) -> None:
    settings = RepositorySettings(models=URL, repository_cache=tmp_path)
    stop = asyncio.Event()
    opened = await open_repository(settings, Metrics(), stop)
    assert opened is not None
    manager = make_manager(*opened, settings, unloaded())
    await first_load(settings, manager, opened[1], stop)
    assert (list(manager.catalog), manager.models_on_disk) == ([], [])


def make_manager(
    root: Path,
    sync: RepositorySync | None,
    settings: RepositorySettings,
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> ModelManager[LoadedVersion]:
    return ModelManager(
        root, make_loader(), settings.selection, Follower(), sync=sync, overrides=overrides
    )


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[None]:
    """A remote with version 2 of "tiny"."""
    system = fsspec.filesystem("memory")
    for path in write_tiny(tmp_path / "source", version=2).iterdir():
        system.pipe_file(f"/silent/models/tiny/2/{path.name}", path.read_bytes())
    yield
    system.rm("/silent", recursive=True)
