"""Where the results of a command go, from its options."""

import sys
from enum import StrEnum
from pathlib import Path

import typer

from convscope.client.cli.outputs.formats import RecordFormat, is_parquet_available
from convscope.client.cli.outputs.output_file import FileChoice

__all__ = ["Format", "LayoutChoice", "check_layout", "choose_file", "choose_format"]

SUFFIXES = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".markdown": "markdown",
    ".md": "markdown",
    ".parquet": "parquet",
    ".pq": "parquet",
}
STANDARD_OUTPUT = (Path("-"), Path("/dev/stdout"))


class Format(StrEnum):
    """The format of the results."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    MARKDOWN = "markdown"


class LayoutChoice(StrEnum):
    """What a row of CSV, Parquet or Markdown is."""

    WIDE = "wide"
    LONG = "long"


def choose_format(chosen: Format | None, as_json: bool, output: Path | None) -> RecordFormat | None:
    """Return the format of the results, or None for a table.

    Raises:
        typer.BadParameter: The options contradict each other, or the format is unavailable.
    """
    if as_json and chosen not in (None, Format.JSON):
        raise typer.BadParameter(f"--json and --format {chosen} are two formats; choose one")
    if as_json:
        chosen = Format.JSON
    if output is not None and output not in STANDARD_OUTPUT:
        if chosen is None:
            chosen = _from_suffix(output)
        elif (implied := SUFFIXES.get(output.suffix.lower(), chosen)) != chosen:
            flag = "--json" if as_json else f"--format {chosen}"
            raise typer.BadParameter(
                f"{flag} and --output {str(output)!r} contradict each other: the suffix is that of "
                f"{implied}"
            )
    if chosen is Format.TABLE and output is not None:
        raise typer.BadParameter("a table is for the terminal; --output needs another --format")
    if chosen is Format.PARQUET:
        _check_parquet(output)
    return None if chosen in (None, Format.TABLE) else _record_format(chosen)


def check_layout(layout: LayoutChoice, kind: RecordFormat | None) -> None:
    """Reject a layout for a format without rows.

    Raises:
        typer.BadParameter: It would have no effect.
    """
    if layout is LayoutChoice.LONG and kind in (None, "json"):
        raise typer.BadParameter(
            f"--layout {layout} is for CSV, Parquet and Markdown; {kind or 'a table'} has no layout"
        )


def choose_file(
    output: Path | None, kind: RecordFormat | None, *, resume: bool, overwrite: bool
) -> FileChoice | None:
    """Return the output file, or None for standard output.

    Raises:
        typer.BadParameter: It can't be written, or would replace earlier results.
    """
    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite contradict each other; choose one")
    if output is None or output in STANDARD_OUTPUT:
        if resume or overwrite:
            flag = "--resume" if resume else "--overwrite"
            raise typer.BadParameter(f"{flag} needs --output FILE")
        return None
    if kind is None:
        raise typer.BadParameter("--output needs a --format")
    return FileChoice(output, kind, resume, overwrite)


def _from_suffix(output: Path) -> Format:
    suffix = output.suffix.lower()
    if suffix not in SUFFIXES:
        raise typer.BadParameter(
            f"the format of --output {str(output)!r} is not clear from its suffix; use one of "
            f"{', '.join(SUFFIXES)}, or add --format"
        )
    return Format(SUFFIXES[suffix])


def _check_parquet(output: Path | None) -> None:
    if not is_parquet_available():
        raise typer.BadParameter(
            "Parquet needs pyarrow, which is not installed; in a clone of Convscope run "
            "pip install '.[tables]', or choose --format csv"
        )
    if (output is None or output in STANDARD_OUTPUT) and sys.stdout.isatty():
        raise typer.BadParameter("Parquet is no text for a terminal; add --output FILE")


def _record_format(chosen: Format | None) -> RecordFormat:
    match chosen:
        case Format.JSON:
            return "json"
        case Format.CSV:
            return "csv"
        case Format.PARQUET:
            return "parquet"
        case _:
            return "markdown"
