"""The entry point of the `convscope` command."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run a command; its --help describes its exit codes."""
    try:
        from convscope.client.cli import app
    except KeyboardInterrupt:  # the imports take a moment
        sys.exit(130)
    app(prog_name="convscope")


if __name__ == "__main__":
    main()
