"""The entry point of `convscope-exporter`."""

import atexit
import os
import sys

INSTALL = (
    "convscope-exporter needs the exporter's dependencies; in a clone of the repository run: "
    "pip install '.[exporter]'"
)


def main() -> None:
    """Run a command; exit with 1 and a sentence after an error, and with 2 for a wrong option."""
    status: list[int] = []
    atexit.register(_end, status)  # the first that is registered runs last
    try:
        from convscope.exporter.cli import app
        from convscope.exporter.home import replace_unusable_caches

        replace_unusable_caches()
        app(prog_name="convscope-exporter")  # imports PyTorch in its commands
    except ModuleNotFoundError as error:
        sys.exit(f"{INSTALL} ({error.name} is missing)")
    except SystemExit as error:
        if isinstance(error.code, int | None):
            status.append(error.code or 0)
        raise


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
