"""Whether a complete output has what this run would write, as far as its rows show that."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from convscope.client.cli.outputs.columns import Columns
from convscope.client.cli.outputs.finished import classes_differ
from convscope.client.cli.outputs.records import Record
from convscope.client.errors import InvalidInputError

__all__ = ["compared"]

TOLERANCE = 1e-6  # of a probability, which is a 32-bit number


def compared(
    records: Iterable[Record], path: Path, columns: Columns, options: Mapping[str, Any]
) -> Iterator[Record]:
    """Yield the results of an output.

    Args:
        records: The results.
        path: The output.
        columns: The columns of this run.
        options: Its options, by flag.

    Raises:
        InvalidInputError: The output was written with other options.
    """
    for record in records:
        probabilities = _probabilities(record, columns)
        least = options["--min-probability"]
        problem = _problem(record, options)
        if lower := [each for each in probabilities if each < least * (1 - TOLERANCE)]:
            problem = f"the file has probabilities such as {lower[0]:.4f}, and this run {least:g}"
            problem += " or more"
        if problem:
            raise InvalidInputError(
                f"{str(path)!r} can't be continued: {problem}; use the same options, choose "
                "another --output, or add --overwrite to replace it"
            )
        count = len(probabilities)
        if count > columns.classes or (count < columns.classes and not least):
            raise InvalidInputError(classes_differ(path, count, columns.classes))
        yield record


def _problem(record: Record, options: Mapping[str, Any]) -> str:
    """Return what this run would write differently; empty if nothing is known to differ."""
    if record["model"] != options["--model"]:
        return f"the file has results of {record['model']!r}, and this run of {options['--model']}"
    if "rows" in record:  # they show neither feature maps nor explanations
        return ""
    if record.get("explanations"):
        return "the file has explanations, and this run has none"
    before, now = list(record.get("feature_maps") or ()), list(options["--feature-maps"])
    if sorted(before) != sorted(now):
        return f"the file has {_maps(before)}, and this run {_maps(now)}"
    return ""


def _maps(names: list[str]) -> str:
    return f"the feature maps {', '.join(names)}" if names else "no feature maps"


def _probabilities(record: Record, columns: Columns) -> list[float]:
    """Return the probability of each class of a result; 1 if it is not finite."""
    if "rows" not in record:
        found = [one["probability"] for one in record["classes"]]
    else:
        indices = [place for place, name in enumerate(columns.names) if name.startswith("index")]
        cells = ((row, index) for row in record["rows"] for index in indices)
        found = [row[index + 1] for row, index in cells if row[index] not in ("", None)]
    return [1.0 if each in ("", None) else float(each) for each in found]
