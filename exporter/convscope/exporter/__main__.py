"""The entry point of `convscope-exporter`."""

import atexit
import os
import signal
import sys
from typing import Any

INSTALL = (
    "convscope-exporter needs the exporter's dependencies; in a clone of the repository run: "
    "pip install '.[exporter]'"
)
INTERRUPTED = 130


def main() -> None:
    """Run a command; exit with 1 after an error, 64 for a wrong option, 130 for Ctrl-C."""
    signal.signal(signal.SIGINT, _interrupt)  # imports take a while
    status: list[int] = []
    atexit.register(_end, status)  # the first that is registered runs last
    try:
        from convscope.exporter.cli import app
        from convscope.exporter.home import replace_unusable_caches

        replace_unusable_caches()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        app(prog_name="convscope-exporter")  # imports PyTorch in its commands
    except ModuleNotFoundError as error:
        sys.exit(f"{INSTALL} ({error.name} is missing)")
    except SystemExit as error:
        if isinstance(error.code, int | None):
            status.append(error.code or 0)
        raise


def _interrupt(*signal_and_frame: Any) -> None:
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


def _end(status: list[int]) -> None:
    """End the process after all other exit functions, if its status is known.

    Python would free the objects of PyTorch and its libraries one by one, for seconds.
    """
    if not status or "torch" not in sys.modules:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # such as a closed pipe, which Python reports
        return
    os._exit(status[0])


if __name__ == "__main__":
    main()
