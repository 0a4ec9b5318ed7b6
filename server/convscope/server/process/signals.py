"""SIGTERM and SIGINT stop the server, a second one ends the process; SIGHUP reloads files."""

import asyncio
import signal
from collections.abc import Callable

import structlog

__all__ = ["Reloads", "reload_on_signal", "stop_on_signals"]

log = structlog.get_logger(__name__)


def stop_on_signals(*, repeat_ends: bool = True) -> asyncio.Event:
    """Return the event that the first SIGTERM or SIGINT sets.

    Args:
        repeat_ends: Whether the same signal ends the process at once the second
            time. A worker may get SIGTERM both from its supervisor and, with
            the rest of the group, from the system: then it must still drain.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin(number: signal.Signals) -> None:
        if repeat_ends:
            loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin, number)
    return stop


class Reloads:
    """The parts of a server that reload files."""

    def __init__(self) -> None:
        self._parts: list[Callable[[], None]] = []

    def add(self, reload: Callable[[], None]) -> None:
        """Add a part."""
        self._parts.append(reload)

    def run(self) -> None:
        """Reload the files of all parts; each of them keeps the old ones if that fails."""
        log.info("reloading")
        for reload in self._parts:
            try:
                reload()
            except Exception:
                log.exception("unexpected error while reloading")


def reload_on_signal(reload: Callable[[], None]) -> None:
    """Call a function at each SIGHUP, which would end the process otherwise."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
