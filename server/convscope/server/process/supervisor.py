"""Several worker processes on one port, for machines with many cores.

Each worker is a server of its own, started as a new process and not forked. It
binds the port only when its models are loaded; the kernel distributes the
connections over the workers that listen. A worker that ends is replaced at once
while the others serve, by a spare process that has done its imports. It gets what
operators changed and which providers were chosen with its settings, so that it
serves exactly what the others serve.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from functools import partial
from time import monotonic

import structlog

from convscope.server.errors import StartError
from convscope.server.frontend.addresses import split_address
from convscope.server.observability.metrics import MetricsServer
from convscope.server.process.signals import Reloads, reload_on_signal, stop_on_signals
from convscope.server.process.spare import Spare
from convscope.server.process.worker import SharedState, Worker, WorkerProcess

__all__ = ["supervise"]

log = structlog.get_logger(__name__)

# A worker that ended sooner than this may end again for the same reason. The first replacement
# starts at once, and those that follow start after pauses that double.
STABLE_SECONDS = 10.0
PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 16.0


async def supervise(
    count: int,
    grpc_address: str,
    shared: SharedState,
    listen_for_metrics: Callable[[], MetricsServer],
    settings_for_worker: Callable[[str, int], bytes],
    listen_for_admins: Callable[[], AbstractAsyncContextManager[None]],
    reloads: Reloads,
    on_serving: Callable[[int], None] = lambda port: None,
) -> None:
    """Keep the workers running until SIGTERM or SIGINT, then let them drain, and return.

    Args:
        count: The number of workers.
        grpc_address: HOST:PORT that they share.
        shared: What the workers have in common.
        listen_for_metrics: Shows their merged metrics to Prometheus.
        settings_for_worker: Returns the serialized settings of a worker that starts, for
            the address with the port that was reserved, and for its index.
        listen_for_admins: Opens the listener for operators, if there is one.
        reloads: What SIGHUP reloads in this process, besides the workers.
        on_serving: Called with the port when the workers serve.

    Raises:
        StartError: An address can't be bound, or the first worker doesn't serve.
    """
    stop = stop_on_signals()
    with ExitStack() as stack:
        grpc_address = _reserve_port(grpc_address, stack)
        settings = partial(settings_for_worker, grpc_address)
        workers = [Worker(index, partial(settings, index), shared) for index in range(count)]
        for worker in workers:
            reloads.add(worker.reload)
        reload_on_signal(reloads.run)
        metrics_server = listen_for_metrics()
        stack.callback(metrics_server.close)
        async with listen_for_admins():  # before the load: operators can see what it does
            if not await _serves(workers, stop):
                return
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
                asyncio.create_task(_keep_running(worker, spare, stop)) for worker in workers
            ]
            await stop.wait()
        for worker in workers:
            worker.terminate()
        await asyncio.gather(spare.close(), *replacing)


async def _serves(workers: list[Worker], stop: asyncio.Event) -> bool:
    """Start the workers, and return whether they serve; if the server is stopped first, end them.

    Raises:
        StartError: The first worker doesn't serve.
    """
    starting = asyncio.create_task(_start(workers))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        starting.cancel()
        await asyncio.gather(starting, *(_end(w) for w in workers), return_exceptions=True)
        return False
    stopping.cancel()
    await starting
    return True


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


async def _keep_running(worker: Worker, spare: Spare, stop: asyncio.Event) -> None:
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
