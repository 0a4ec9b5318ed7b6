"""What a bulk run reports after Ctrl-C, also before its first result."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from convscope._usage_errors import INTERRUPTED
from convscope.client.cli.outputs.journal import journal_path

__all__ = ["CONTINUE", "NOTHING_WRITTEN", "part_files", "reporting_interruption"]

CONTINUE = "add --resume to the same command to continue"
NOTHING_WRITTEN = "nothing was written"


def part_files(folder: Path) -> list[Path]:
    """Return the parts in the folder beside an output, the earliest first."""
    return sorted(folder.glob("*.parquet"))


@contextmanager
def reporting_interruption(output: Path, *, quiet: bool) -> Iterator[None]:
    """Report Ctrl-C while nothing is classified, such as while Ray starts, and exit with 130.

    Args:
        output: The file of the results.
        quiet: Whether only errors are shown.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if not quiet:
            console = Console(stderr=True, highlight=False)
            console.print("interrupted", style="bold")
            parts = part_files(journal_path(Path(os.path.realpath(output))))
            console.print(CONTINUE if parts else NOTHING_WRITTEN)
        raise typer.Exit(INTERRUPTED) from error
