"""The supervisor: a worker that can't be started, misbehaves, or is stopped at any moment."""

import asyncio
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from convscope.server.errors import StartError
from convscope.server.observability.metrics import MetricsServer
from convscope.server.observability.metrics.merging import MergedMetrics
from convscope.server.process import supervisor
from convscope.server.process.supervisor import supervise
from convscope.server.process.worker import Worker

ANY_PORT = "127.0.0.1:0"
# A worker that reports that it serves, sends metrics that are none, and ends.
WORKER = """#!{python}
import socket, sys
with socket.socket(fileno=int(sys.argv[-1])) as connection:
    connection.recv(1000)
    connection.send(b'{{"ready": true}}\\n{{"metrics": [["calls", "counter", "Calls.", ')
    connection.send(b'[["calls_total", [], [[[], "many"]]]]]]}}\\n')
"""


@pytest.fixture
def worker_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "worker"
    program.write_text(WORKER.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def listen(metrics: MergedMetrics) -> MetricsServer:
    return MetricsServer(metrics.registry, "127.0.0.1", 0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def events(logs: list[MutableMapping[str, Any]]) -> list[str]:
    return [line["event"] for line in logs]


async def test_worker_that_cannot_be_started_is_a_failed_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with capture_logs() as logs, pytest.raises(StartError, match="the first worker"):
        await supervise(1, ANY_PORT, listen, lambda _: b"{}")
    (line,) = [line for line in logs if line["event"] == "worker can't be started"]
    assert line["reason"] == "No such file or directory"


@pytest.mark.usefixtures("worker_program")
async def test_worker_that_sends_garbage_and_ends_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = asyncio.Event()
    monkeypatch.setattr(supervisor, "stop_on_signals", lambda: stop)
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS", 0.01)
    with capture_logs() as logs:
        running = asyncio.create_task(supervise(1, ANY_PORT, listen, lambda _: b"{}"))
        await until(lambda: events(logs).count("worker replaced") == 2)
        stop.set()
        await running
    assert "unexpected error in a message of a worker" in events(logs)


@pytest.mark.usefixtures("worker_program")
async def test_worker_that_is_terminated_while_its_process_is_created_ends() -> None:
    worker = Worker(0, b"{}", MergedMetrics())
    starting = asyncio.create_task(worker.start())
    await asyncio.sleep(0)
    assert worker.pid is None
    worker.terminate()
    assert not await starting
    assert await worker.wait() < 0  # by the signal
