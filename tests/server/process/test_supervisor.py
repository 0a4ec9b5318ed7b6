"""The supervisor: a worker that can't be started, misbehaves, or is stopped at any moment."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from convscope.server.errors import StartError
from convscope.server.observability.metrics import MetricsServer
from convscope.server.process import supervisor
from convscope.server.process.signals import Reloads
from convscope.server.process.spare import Spare
from convscope.server.process.supervisor import supervise
from convscope.server.process.worker import SharedState, Worker

ANY_PORT = "127.0.0.1:0"
# A worker that has loaded and chosen a provider, serves, sends metrics that are none, and ends.
WORKER = """#!{python}
import socket, sys
with socket.socket(fileno=int(sys.argv[-1])) as connection:
    settings = connection.recv(1000).decode().strip()
    connection.send(b'{{"loaded": true, "choices": {{"key": "chosen with ' + settings.encode())
    connection.send(b'"}}}}\\n')
    assert b"overrides" in connection.recv(1000)
    connection.send(b'{{"ready": true}}\\n{{"metrics": [["calls", "counter", "Calls.", ')
    connection.send(b'[["calls_total", [], [[[], "many"]]]]]]}}\\n')
"""


@pytest.fixture
def worker_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "worker"
    program.write_text(WORKER.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


@asynccontextmanager
async def no_admins() -> AsyncIterator[None]:
    yield


async def supervise_one(shared: SharedState | None = None) -> None:
    """Supervise one worker whose settings are how many have started."""
    shared, started = shared or SharedState(), count()

    def listen() -> MetricsServer:
        return MetricsServer(shared.metrics.registry, "127.0.0.1", 0)

    def settings(_address: str, _index: int) -> bytes:
        return str(next(started)).encode()

    await supervise(1, ANY_PORT, shared, listen, settings, no_admins, Reloads())


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
        await supervise_one()
    (line,) = [line for line in logs if line["event"] == "worker can't be started"]
    assert line["reason"] == "No such file or directory"


@pytest.mark.usefixtures("worker_program")
async def test_worker_that_sends_garbage_and_ends_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop, shared = asyncio.Event(), SharedState()
    monkeypatch.setattr(supervisor, "stop_on_signals", lambda: stop)
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS", 0.01)
    with capture_logs() as logs:
        running = asyncio.create_task(supervise_one(shared))
        await until(lambda: events(logs).count("worker replaced") == 2)
        stop.set()
        await running
    assert "unexpected error in a message between supervisor and worker" in events(logs)
    # Each process got settings of its own, and the choice of the first one counts.
    assert shared.provider_choices == {"key": "chosen with 0"}
    assert shared.changes.joined == set()


@pytest.mark.usefixtures("worker_program")
async def test_only_a_worker_that_ends_again_is_replaced_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = asyncio.Event()
    monkeypatch.setattr(supervisor, "stop_on_signals", lambda: stop)
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS", 1000.0)
    monkeypatch.setattr(supervisor, "MAX_PAUSE_SECONDS", 1000.0)
    with capture_logs() as logs:
        running = asyncio.create_task(supervise_one())
        await until(lambda: events(logs).count("worker ended") == 2)
        assert events(logs).count("worker replaced") == 1
        await asyncio.sleep(0.1)
        assert events(logs).count("worker replaced") == 1
        stop.set()
        async with asyncio.timeout(30):  # the end of the server doesn't wait for the pause
            await running


@pytest.mark.usefixtures("worker_program")
async def test_the_spare_process_is_used_once_and_not_if_it_has_ended() -> None:
    spare = Spare()
    spare.prepare()
    await asyncio.sleep(0.1)
    spare.prepare()  # there is one
    first, second = await spare.take(), await spare.take()
    assert first.process.pid != second.process.pid
    spare.prepare()
    taken = await spare.take()
    spare.prepare()
    assert spare._starting is not None
    ended = await spare._starting
    ended.process.kill()
    await ended.process.wait()
    third = await spare.take()
    assert third.process.pid != ended.process.pid
    assert not third.has_ended
    spare.prepare()
    waiting = await spare._starting
    await spare.close()
    assert waiting.has_ended
    for process in (first, second, third, taken):
        await process.end()


@pytest.mark.usefixtures("worker_program")
async def test_worker_that_cannot_get_its_settings_or_the_changes_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> Any:
        raise RuntimeError("unexpected")

    shared = SharedState()
    without_settings, without_changes = Worker(0, fail, shared), Worker(1, lambda: b"{}", shared)
    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError):
            await without_settings.start()
        assert await without_settings.wait() == -signal.SIGKILL
        monkeypatch.setattr(shared.changes, "join", fail)
        with capture_logs() as logs:
            assert not await without_changes.start()
        assert await without_changes.wait() == -signal.SIGKILL
    assert events(logs) == ["unexpected error in a message between supervisor and worker"]


@pytest.mark.usefixtures("worker_program")
async def test_worker_that_has_loaded_gets_what_was_changed_since_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared, send = SharedState(), Worker._send
    sent: list[Any] = []

    def note(worker: Worker, message: dict[str, Any]) -> None:
        sent.append(message.get("overrides"))
        send(worker, message)

    def settings() -> bytes:
        changes.pop()()
        return b"{}"

    monkeypatch.setattr(Worker, "_send", note)
    changes: list[Callable[[], object]] = [lambda: None, lambda: shared.changes.change("tiny")]
    for _ in range(2):
        worker = Worker(0, settings, shared)
        assert await worker.start()
        await worker.wait()
    assert sent == [shared.changes.to_json(), None]


@pytest.mark.usefixtures("worker_program")
async def test_worker_that_is_terminated_while_its_process_is_created_ends() -> None:
    worker = Worker(0, lambda: b"{}", SharedState())
    starting = asyncio.create_task(worker.start())
    await asyncio.sleep(0)
    assert worker.pid is None
    worker.terminate()
    assert not await starting
    assert await worker.wait() < 0  # by the signal
