"""The end of a command after Ctrl-C."""

import os
import signal
import sys
from contextlib import suppress
from threading import Thread
from time import sleep
from typing import NoReturn

from convscope._usage_errors import INTERRUPTED

__all__ = ["end_soon", "let_the_next_one_kill"]

# What closing the connection may take.
GRACE_SECONDS = 2.0


def let_the_next_one_kill() -> None:
    """Let another Ctrl-C end the process at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def end_soon() -> None:
    """End the process, even if it doesn't end by itself.

    gRPC's threads can wait forever for calls that were cancelled in the middle.
    """
    Thread(target=_end_later, daemon=True).start()


def _end_later() -> None:
    sleep(GRACE_SECONDS)
    end_now()


def end_now() -> NoReturn:
    """End the process without waiting for any thread."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # the reader is gone
            stream.flush()
    os._exit(INTERRUPTED)
