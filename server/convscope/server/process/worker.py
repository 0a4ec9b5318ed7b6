"""One worker process, seen from its supervisor and from within.

The two hold the ends of a socket: by it the worker says that it serves and
where its metrics are, and learns that its supervisor has gone.
"""

import asyncio
import json
import os
import socket
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import fields, replace
from http.client import HTTPException

from convscope.server.config.settings import Settings

__all__ = ["Worker", "announce", "to_flags"]

SCRAPE_TIMEOUT_SECONDS = 2.0
# A worker is on this machine, whatever proxies the environment names.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Worker:
    """A process that serves on the same port as its siblings.

    Args:
        settings: Of the whole server.
        index: Which of the workers it is.
    """

    def __init__(self, settings: Settings, index: int) -> None:
        self.index = index
        self.last_scrape = ""
        self._settings = settings
        self._metrics_url: str | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def pid(self) -> int | None:
        """The process's id; None before it was started."""
        return self._process.pid if self._process else None

    async def start(self) -> bool:
        """Start the process, and wait until it serves; returns False if it ended instead."""
        ours, theirs = socket.socketpair()
        settings = replace(
            self._settings,
            workers=1,
            max_memory_mb=_share(self._settings.max_memory_mb, self._settings.workers),
            cores=max(1, self._settings.core_count // self._settings.workers),
            metrics_address="127.0.0.1:0",
            worker_socket=theirs.fileno(),
        )
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "convscope.server", *to_flags(settings)),
                pass_fds=[theirs.fileno()],
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        line = await reader.readline()
        if not line:
            await self.wait()
            return False
        port = json.loads(line)["metrics_port"]
        self._metrics_url = f"http://127.0.0.1:{port}/metrics"
        self.last_scrape = ""
        return True

    async def wait(self) -> int:
        """Wait until the process has ended; returns its exit code."""
        code = await self._process.wait() if self._process else 0
        self._metrics_url = None
        if self._writer is not None:
            self._writer.close()
        return code

    def terminate(self) -> None:
        """Let it drain and end."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    def scrape(self) -> str:
        """Give what it shows to Prometheus, or showed last if it doesn't answer."""
        if self._metrics_url is not None:
            try:
                with _OPENER.open(self._metrics_url, timeout=SCRAPE_TIMEOUT_SECONDS) as reply:
                    self.last_scrape = reply.read().decode()
            except (OSError, HTTPException):
                pass  # it is ending: what it showed last still counts
        return self.last_scrape


def _share(whole: int | None, workers: int) -> int | None:
    return None if whole is None else max(1, whole // workers)


def announce(number: int, metrics_port: int, stop: Callable[[], None]) -> None:
    """Tell the supervisor that this worker serves, and stop when the supervisor has gone.

    Args:
        number: The file descriptor of the worker's end of the socket.
        metrics_port: Where this worker shows its metrics.
        stop: Called when the other end is closed.
    """
    os.write(number, json.dumps({"metrics_port": metrics_port}).encode() + b"\n")
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(number)
        stop()

    loop.add_reader(number, gone)


def to_flags(settings: Settings) -> list[str]:
    """Give the flags that make these settings again."""
    flags = []
    for field in fields(settings):
        name, value = field.name.replace("_", "-"), getattr(settings, field.name)
        if value is True:
            flags.append(f"--{name}")
        elif value is not None and value is not False:
            flags.append(f"--{name}={value}")
    return flags
