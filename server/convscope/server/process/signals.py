"""SIGTERM and SIGINT: the first one stops the server, a second one ends the process."""

import asyncio
import signal

__all__ = ["stop_on_signals"]


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
