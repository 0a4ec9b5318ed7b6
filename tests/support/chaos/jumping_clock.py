"""Runs convscope-server with a wall clock that is off by the seconds in the file CLOCK_OFFSET_FILE.

It replaces the functions of the module time; the monotonic clock stays. A library under the whole
process, such as libfaketime, also changes how long the event loop waits. The first look at the
clock after each jump is logged.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path

__all__ = ["JUMPED", "OFFSET_FILE", "Clock"]

OFFSET_FILE = "CLOCK_OFFSET_FILE"
JUMPED = "clock jumped"


class Clock:
    """The wall clock.

    Args:
        file: Holds the seconds by which it is off.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds = 0
        self._real_ns = time.time_ns

    def time(self) -> float:
        """Return the time, in seconds."""
        return self.time_ns() / 1e9

    def time_ns(self) -> int:
        """Return the time, in nanoseconds."""
        seconds = int(self._file.read_text() or self._seconds)
        if seconds != self._seconds:
            self._seconds = seconds
            print(json.dumps({"event": JUMPED, "seconds": seconds}), file=sys.stderr, flush=True)
        return self._real_ns() + seconds * 10**9


if __name__ == "__main__":
    clock = Clock(Path(os.environ[OFFSET_FILE]))
    time.time, time.time_ns = clock.time, clock.time_ns
    runpy.run_module("convscope.server", run_name="__main__", alter_sys=True)
