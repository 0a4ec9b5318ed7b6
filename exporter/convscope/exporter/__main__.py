"""The entry point of `convscope-exporter`."""

import sys

INSTALL = (
    "convscope-exporter needs the exporter's dependencies; in a clone of the repository run: "
    "pip install '.[exporter]'"
)


def main() -> None:
    """Run a command; exit with 1 and a sentence after an error, and with 2 for a wrong option."""
    try:
        from convscope.exporter.cli import app

        app(prog_name="convscope-exporter")  # imports PyTorch in its commands
    except ModuleNotFoundError as error:
        sys.exit(f"{INSTALL} ({error.name} is missing)")


if __name__ == "__main__":
    main()
