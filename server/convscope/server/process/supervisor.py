"""Several worker processes on one port, for machines with many cores.

Each worker is a server of its own, started as a new process and not forked. It
binds the port only when its models are loaded; the kernel distributes the
connections over the workers that listen. A worker that ends is replaced at once
while the others serve, by a spare process that has done its imports.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from time import monotonic

import structlog

from convscope.server.errors import StartError
from convscope.server.frontend.addresses import split_address
from convscope.server.observability.metrics import MetricsServer
from convscope.server.observability.metrics.merging import MergedMetrics
from convscope.server.process.signals import reload_on_signal, stop_on_signals
from convscope.server.process.spare import Spare
from convscope.server.process.worker import Worker, WorkerProcess

__all__ = ["Replay", "supervise"]

log = structlog.get_logger(__name__)

# A worker that ended sooner than this may end again for the same reason. The first replacement
# starts at once, and those that follow start after pauses that double.
STABLE_SECONDS = 10.0
PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 16.0

Replay = Callable[[int], Awaitable[None]]
"""Repeats the changes of operators in the worker with this index."""


async def supervise(
    count: int,
    grpc_address: str,
    listen_for_metrics: Callable[[MergedMetrics], MetricsServer],
    settings_for_worker: Callable[[str, int], bytes],
    listen_for_admins: Callable[[], AbstractAsyncContextManager[Replay]],
    on_serving: Callable[[int], None] = lambda port: None,
) -> None:
    """Keep the workers running until SIGTERM or SIGINT, then let them drain, and return.

    Args:
        count: The number of workers.
        grpc_address: HOST:PORT that they share.
        listen_for_metrics: Shows their merged metrics to Prometheus.
        settings_for_worker: Returns the serialized settings of each worker for
            the address with the port that was reserved, and for its index.
        listen_for_admins: Opens the listener for operators, if there is one, when the workers
            serve. It returns what repeats their changes in a worker that replaces another one.
        on_serving: Called with the port when the workers serve.

    Raises:
        StartError: An address can't be bound, or the first worker doesn't serve.
    """
    stop = stop_on_signals()
    with ExitStack() as stack:
        grpc_address = _reserve_port(grpc_address, stack)
        metrics = MergedMetrics()
        workers = [
            Worker(index, settings_for_worker(grpc_address, index), metrics)
            for index in range(count)
        ]
        reload_on_signal(lambda: _reload(workers))
        metrics_server = listen_for_metrics(metrics)
        stack.callback(metrics_server.close)
        starting = asyncio.create_task(_start(workers))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            starting.cancel()
            await asyncio.gather(starting, *(_end(w) for w in workers), return_exceptions=True)
            return
        await starting
        async with listen_for_admins() as replay:
            log.info(
                "serving",
                grpc_port=split_address(grpc_address)[1],
                metrics_port=metrics_server.port,
                workers=[worker.pid for worker in workers],
            )
            on_serving(split_address(grpc_address)[1])
            spare = Spare()
            spare.prepare()
            replacing = [
                asyncio.create_task(_keep_running(worker, spare, stop, replay))
                for worker in workers
            ]
            await stop.wait()
        for worker in workers:
            worker.terminate()
        await asyncio.gather(spare.close(), *replacing)


def _reload(workers: list[Worker]) -> None:
    log.info("reloading", workers=[worker.pid for worker in workers])
    for worker in workers:
        worker.reload()


async def _start(workers: list[Worker]) -> None:
    """Start the first worker, which measures how to run the models, then those that reuse it."""
    if not await _start_one(workers[0]):
        raise StartError("the first worker ended before it served; the log says why")
    await asyncio.gather(*map(_start_one, workers[1:]))


async def _start_one(
    worker: Worker, new_process: Callable[[], Awaitable[WorkerProcess]] = WorkerProcess.start
) -> bool:
    """Start a worker, and wait until it serves; if that fails, log why and return False."""
    try:
        return await worker.start(new_process)
    except OSError as error:  # too many processes, too little memory
        log.error("worker can't be started", worker=worker.index, reason=error.strerror)
    except Exception:
        log.exception("unexpected error at the start of a worker", worker=worker.index)
    return False


async def _end(worker: Worker) -> None:
    worker.terminate()
    await worker.wait()


async def _keep_running(worker: Worker, spare: Spare, stop: asyncio.Event, replay: Replay) -> None:
    """Replace a worker whenever it ends, until the server stops."""
    started_at, early_ends = monotonic(), 0
    while True:
        try:
            code = await worker.wait()
        except Exception:
            code = None
            log.exception("unexpected error at the end of a worker", worker=worker.index)
        if stop.is_set():
            return
        if worker.pid is not None:
            log.error("worker ended", worker=worker.index, pid=worker.pid, exit_code=code)
        early_ends = early_ends + 1 if monotonic() - started_at < STABLE_SECONDS else 0
        if early_ends > 1:
            await _pause(min(PAUSE_SECONDS * 2 ** (early_ends - 2), MAX_PAUSE_SECONDS), stop)
        if stop.is_set():
            return
        started_at = monotonic()
        if await _start_one(worker, spare.take):
            await replay(worker.index)
            log.info("worker replaced", worker=worker.index, pid=worker.pid)
        if not stop.is_set():
            spare.prepare()  # only now: the replacement needs the processor


async def _pause(seconds: float, stop: asyncio.Event) -> None:
    """Wait some seconds, or until the server stops."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _reserve_port(address: str, stack: ExitStack) -> str:
    """Bind the port without listening, so that it stays ours between two workers.

    Returns:
        The address with the port that was bound.
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    reserved = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        reserved.bind((host.strip("[]"), port))
    except OSError as error:
        raise StartError(f"--grpc-address {address} can't be bound: {error.strerror}") from error
    return f"{host}:{reserved.getsockname()[1]}"
