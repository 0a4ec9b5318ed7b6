"""Whether a complete output has what this run would write, as far as its rows show that."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from convscope.client.cli.outputs.columns import Columns
from convscope.client.cli.outputs.finished import classes_differ
from convscope.client.cli.outputs.records import Record
from convscope.client.errors import InvalidInputError

__all__ = ["Compared"]

TOLERANCE = 1e-6  # of a probability, which is a 32-bit number


class Compared:
    """The results of an output.

    Iterating over it raises an InvalidInputError if the output was written with other options.

    Args:
        records: The results.
        path: The output.
        columns: The columns of this run.
        options: Its options, by flag.
        version: The version that this run asks for, if it asks for one.
    """

    def __init__(
        self,
        records: Iterable[Record],
        path: Path,
        columns: Columns,
        options: Mapping[str, Any],
        version: int | None,
    ) -> None:
        self._records = records
        self._path = path
        self._columns = columns
        self._options = options
        self._version = version
        self.may_lack_classes = False
        """Whether a result has so few classes that its least probability may have been higher."""

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            self._check(record)
            yield record

    def _check(self, record: Record) -> None:
        path, columns = self._path, self._columns
        probabilities = _probabilities(record, columns)
        least = self._options["--min-probability"]
        problem = _problem(record, self._options, self._version)
        if lower := [each for each in probabilities if each < least * (1 - TOLERANCE)]:
            problem = (
                f"the file has probabilities such as {lower[0]:.4f}, and --min-probability of this "
                f"run is {least:g}"
            )
        if problem:
            raise InvalidInputError(
                f"{str(path)!r} can't be continued: {problem}; use the same options, choose "
                "another --output, or add --overwrite to replace it"
            )
        count = len(probabilities)
        if count > columns.classes or (count < columns.classes and not least):
            raise InvalidInputError(classes_differ(path, count, columns.classes))
        self.may_lack_classes |= count < columns.classes


def _problem(record: Record, options: Mapping[str, Any], version: int | None) -> str:
    """Return what this run would write differently; empty if nothing is known to differ."""
    if record["model"] != options["--model"]:
        return f"the file has results of {record['model']!r}, and this run of {options['--model']}"
    if version is not None and int(record["version"]) != version:
        return f"the file has results of version {record['version']}, and this run of {version}"
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
