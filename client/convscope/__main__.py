"""The `convscope` command, also as `python -m convscope`.

`convscope` is a namespace package without an `__init__.py`, and needs none for this.
"""

import os
import signal
import sys
from typing import Any

__all__ = ["main"]

INTERRUPTED = 130


def main() -> None:
    """Run a command; its --help describes its exit codes."""
    # A KeyboardInterrupt in the middle of an import could be lost, or print a traceback.
    signal.signal(signal.SIGINT, _end)
    # Otherwise gRPC writes lines of its own about a failed handshake. A message explains it.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if sys.argv[1:2] == ["health"]:
        from convscope import _health

        if (code := _health.main(sys.argv[2:])) is not None:
            sys.exit(code)
    from convscope.client.cli import app

    signal.signal(signal.SIGINT, signal.default_int_handler)
    app(prog_name="convscope")


def _end(*signal_and_frame: Any) -> None:
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
