"""`convscope-exporter`: the command line of the exporter."""

import sys

INSTALL = "convscope-exporter needs PyTorch and more; pip install 'convscope[exporter]'"


def main() -> None:
    """Run a command; exit with 1 for a failure that a sentence explains, 2 for a wrong flag."""
    try:
        from convscope.exporter.cli import app

        app(prog_name="convscope-exporter")  # imports PyTorch in its commands
    except ModuleNotFoundError as error:
        sys.exit(f"{INSTALL} ({error.name} is missing)")


if __name__ == "__main__":
    main()
