"""Several worker processes on one port, for machines with many cores.

Each is a server of its own, started anew and not forked, and binds the port
only when its models are loaded; the kernel spreads the connections over those
that listen. One that ends is replaced while the others serve.
"""

import asyncio
import signal
import socket
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic

import structlog

from convscope.server.config.settings import Settings, split_address
from convscope.server.errors import StartError
from convscope.server.observability.metrics import MetricsServer
from convscope.server.observability.metrics.merging import MergedMetrics
from convscope.server.process.worker import Worker

__all__ = ["supervise"]

log = structlog.get_logger(__name__)

# So often a worker's counters are read, in case it ends without warning.
SCRAPE_SECONDS = 1.0
# A worker that ended sooner than this is replaced after a pause.
SETTLED_SECONDS = 10.0
PAUSE_SECONDS = 1.0


async def supervise(settings: Settings) -> None:
    """Keep the workers running until SIGTERM or SIGINT, then let them drain, and return.

    Raises:
        StartError: An address can't be had, the first worker doesn't serve, or
            something is asked for that workers can't do.
    """
    if settings.admin_address is not None:
        raise StartError(
            "--admin-address would reach one of the workers only; with --workers, publish and "
            "promote in the repository, which each of them looks at"
        )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with ExitStack() as stack:
        settings = _reserve_port(settings, stack)
        workers = [Worker(settings, index) for index in range(settings.workers)]
        metrics = MergedMetrics(lambda: [worker.scrape() for worker in workers])
        metrics_server = _serve_metrics(settings, metrics, stack)
        starting = asyncio.create_task(_start(workers))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            starting.cancel()
            await asyncio.gather(starting, *(_end(w) for w in workers), return_exceptions=True)
            return
        await starting
        log.info(
            "serving",
            grpc_port=split_address(settings.grpc_address)[1],
            metrics_port=metrics_server.port,
            workers=[worker.pid for worker in workers],
        )
        keepers = [asyncio.create_task(_keep(worker, metrics, stop)) for worker in workers]
        watcher = asyncio.create_task(_watch(workers))
        await stop.wait()
        watcher.cancel()
        for worker in workers:
            worker.terminate()
        await asyncio.gather(*keepers)


async def _start(workers: list[Worker]) -> None:
    """Start the first, which measures how to run the models, and then those that find it."""
    if not await workers[0].start():
        raise StartError("the first worker ended before it served; its log says why")
    await asyncio.gather(*(worker.start() for worker in workers[1:]))


async def _end(worker: Worker) -> None:
    worker.terminate()
    await worker.wait()


async def _keep(worker: Worker, metrics: MergedMetrics, stop: asyncio.Event) -> None:
    """Replace a worker whenever it ends, until all are to end."""
    started_at = monotonic()
    while True:
        code = await worker.wait()
        metrics.retire(worker.last_scrape)
        worker.last_scrape = ""
        if stop.is_set():
            return
        log.error("worker ended", worker=worker.index, pid=worker.pid, exit_code=code)
        if monotonic() - started_at < SETTLED_SECONDS:
            await asyncio.sleep(PAUSE_SECONDS)
        if stop.is_set():
            return
        started_at = monotonic()
        try:
            replaced = await worker.start()
        except OSError as error:  # no process, no memory: it is tried again
            log.error("worker can't be started", worker=worker.index, reason=error.strerror)
            continue
        if replaced:
            log.info("worker replaced", worker=worker.index, pid=worker.pid)
        if stop.is_set():
            worker.terminate()


async def _watch(workers: list[Worker]) -> None:
    """Read the counters again and again, off the event loop."""
    while True:
        await asyncio.sleep(SCRAPE_SECONDS)
        await asyncio.to_thread(lambda: [worker.scrape() for worker in workers])


def _reserve_port(settings: Settings, stack: ExitStack) -> Settings:
    """Hold the port without listening on it, so that it stays ours between two workers."""
    host, port = split_address(settings.grpc_address)
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    holder = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        holder.bind((host.strip("[]"), port))
    except OSError as error:
        raise StartError(
            f"--grpc-address {settings.grpc_address} can't be bound: {error.strerror}"
        ) from error
    return replace(settings, grpc_address=f"{host}:{holder.getsockname()[1]}")


def _serve_metrics(settings: Settings, metrics: MergedMetrics, stack: ExitStack) -> MetricsServer:
    try:
        server = MetricsServer(metrics.registry, *split_address(settings.metrics_address))
    except OSError as error:
        raise StartError(
            f"--metrics-address {settings.metrics_address} can't be used: {error.strerror}"
        ) from error
    stack.callback(server.close)
    return server
