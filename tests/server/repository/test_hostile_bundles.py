"""Bundles that never end or take too much memory are rejected, and concern nothing else."""

import asyncio
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.calls import LOOPBACK, connected, image_request, sample, wait_until
from support.hostile import (
    write_endless_loop,
    write_fifo,
    write_inflating_golden,
    write_large_batch,
    write_large_constant,
)
from support.loading import Follower
from support.processes import anonymous_mb, descendants, is_running
from support.server import ServerProcess, start_server
from support.tiny import write_tiny

from convscope.server.repository.manager import ModelManager
from convscope.server.repository.selection import Selection
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import admin_pb2, admin_pb2_grpc

# What a server may grow by, whatever the bundles want.
GROWTH_MB = 60
WRITERS: Mapping[str, Callable[[Path, str], object]] = {
    "endless": write_endless_loop,
    "constant": write_large_constant,
    "batch": lambda root, model: write_large_batch(root, model, mib=40),
    "golden": write_inflating_golden,
    "fifo": write_fifo,
    "fifo-manifest": lambda root, model: write_fifo(root, model, name="manifest.json"),
    "fifo-graph": lambda root, model: write_fifo(root, model, name="model.onnx"),
}
EXPECTED = {
    "endless": ("time", "raise --max-load-seconds"),
    "constant": ("memory", "3,2"),
    "batch": ("memory", "raise --max-load-memory"),
    "golden": ("golden", "for 'probabilities'"),
    "fifo": ("files", "golden.npz is not a plain file"),
    "fifo-manifest": ("files", "manifest.json is not a plain file"),
    "fifo-graph": ("files", "model.onnx is not a plain file"),
}

pytestmark = pytest.mark.one_transport("validates bundles")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    write_tiny(tmp_path / "models")
    with ServerProcess(tmp_path / "models", *_flags(tmp_path)) as running:
        yield running


def _flags(tmp_path: Path, seconds: float = 1.5) -> tuple[str, ...]:
    limits = ("--max-load-seconds", str(seconds), "--max-load-memory", "200000000")
    return ("--poll-seconds", "0.1", "--admin-address", f"unix:{tmp_path / 'admin'}", *limits)


def test_hostile_bundles_are_rejected_with_their_figures_and_later_ones_are_loaded(
    tmp_path: Path, server: ServerProcess
) -> None:
    before = anonymous_mb(server.process.pid)
    for model, write in WRITERS.items():
        write(tmp_path / "made", model)
    write_tiny(tmp_path / "made", "zebra")
    with connected(server) as stub:
        for made in sorted((tmp_path / "made").iterdir()):
            shutil.move(made, tmp_path / "models" / made.name)

        def is_loaded() -> bool:
            assert stub.Classify(image_request(), timeout=5).version == 1
            return sample(server, "convscope_model_info", model="zebra") == 1

        wait_until(is_loaded)
    found = _statuses(tmp_path)
    for model, (reason, message) in EXPECTED.items():
        assert found[model].state == admin_pb2.VERSION_STATE_REFUSED
        assert (found[model].reason, model) == (reason, model)
        assert message in found[model].message
        assert sample(server, "convscope_model_refused", model=model, reason=reason) == 1
    assert anonymous_mb(server.process.pid) < before + GROWTH_MB
    assert not [pid for pid in descendants(server.process.pid) if _has_children(pid)]


def test_sigterm_ends_a_server_that_loads_a_bundle_without_end(tmp_path: Path) -> None:
    write_tiny(tmp_path / "models")
    with ServerProcess(tmp_path / "models", *_flags(tmp_path, 600.0)) as server:
        write_endless_loop(tmp_path / "models", "endless")
        started = _wait_for_validation(server.process)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 30
        wait_until(lambda: not any(map(is_running, started)))
        assert [line["event"] for line in server.log if line.get("level") == "error"] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_server_whose_first_load_never_ends(
    tmp_path: Path, number: signal.Signals
) -> None:
    write_endless_loop(tmp_path)
    flags = ["--models", str(tmp_path), *LOOPBACK, "--max-load-seconds", "600"]
    process = start_server(flags, None)
    started = _wait_for_validation(process)
    process.send_signal(number)
    assert process.wait(30) == (0 if number == signal.SIGTERM else -number)
    assert process.stderr is not None
    with process.stderr:
        assert "Traceback" not in process.stderr.read()
    wait_until(lambda: not any(map(is_running, started)))


async def test_manager_closes_although_a_load_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.server.repository.manager.CLOSE_SECONDS", 0.1)
    loading, released = threading.Event(), threading.Event()

    class Stuck:
        def load(self, *_: object, **__: object) -> LoadedVersion:
            loading.set()
            released.wait()
            raise MemoryError

        def memory_bytes(self, graph_bytes: int) -> int:
            return graph_bytes

    write_tiny(tmp_path)
    manager = ModelManager(tmp_path, Stuck(), Selection(), Follower())
    reconciling = asyncio.create_task(manager.reconcile())
    assert await asyncio.to_thread(loading.wait, 30)
    await manager.close()
    assert not reconciling.done()
    released.set()
    await reconciling


def _wait_for_validation(process: Any) -> set[int]:
    """Wait until a process examines a version, and return it with the one that forked it."""
    wait_until(lambda: any(map(_has_children, descendants(process.pid))))
    return descendants(process.pid)


def _has_children(pid: int) -> bool:
    return bool(descendants(pid))


def _statuses(tmp_path: Path) -> dict[str, admin_pb2.VersionStatus]:
    with grpc.insecure_channel(f"unix:{tmp_path / 'admin'}") as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        reply = stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=10)
    return {model.model: model.versions[0] for model in reply.models}
