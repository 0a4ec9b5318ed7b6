"""The `convscope` command, also as `python -m convscope`.

`convscope` is a namespace package without an `__init__.py`, and needs none for this.
"""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run a command; its --help describes its exit codes."""
    # Otherwise gRPC writes lines of its own about a failed handshake. A message explains it.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if sys.argv[1:2] == ["health"]:
        from convscope import _health

        if (code := _health.main(sys.argv[2:])) is not None:
            sys.exit(code)
    try:
        from convscope.client.cli import app
    except KeyboardInterrupt:  # the imports take a moment
        sys.exit(130)
    app(prog_name="convscope")


if __name__ == "__main__":
    main()
