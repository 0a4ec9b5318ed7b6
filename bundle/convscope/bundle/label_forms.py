"""The forms in which programs write labels, each read as pairs of an index and a label."""

import ast
import csv
import json
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from convscope.bundle.suggestions import shown

__all__ = ["CONTAINERS", "FormError", "from_csv", "from_lines", "from_value", "parse_literal"]

# Under which a larger object or a model's metadata stores the labels; the first is
# Ultralytics', and id2label Hugging Face's.
CONTAINERS = ("names", "labels", "classes", "class_names", "id2label")
_INDEX_NAMES = ("id", "index", "idx", "class_id", "class_index", "label_id", "category_id")
_LABEL_NAMES = ("name", "label", "class", "class_name", "label_name", "category", "display_name")
_SEPARATED = re.compile(r"\s*\d+\s*[,;\t]\s*\S")
_NUMBERED = re.compile(r"\s*(\d{1,18})[:.\s]\s*(\S.*)")
_FOLLOWED = re.compile(r"\s*\S.*[,;\t]\s*(\d{1,18})\s*")
_MAX_PLACES = 5
_MAX_INDEX_DIGITS = 18

Pair = tuple[int, str]


class FormError(ValueError):
    """The content isn't labels; the message names the place and the reason."""


def from_lines(text: str) -> tuple[str, ...]:
    """Return one label per line, without the line's index, if each starts or ends with it."""
    lines = [line for line in text.splitlines() if line.strip()]
    followed = [match[1] for match in map(_FOLLOWED.fullmatch, lines) if match]
    if len(followed) == len(lines) and _count_from_zero(followed):
        return from_csv(text)
    if len(lines) > 1 and all(map(_SEPARATED.match, lines[1:])):
        return from_csv(text)
    numbered = [match for match in map(_NUMBERED.fullmatch, lines) if match]
    pairs = [(int(match[1]), match[2].strip()) for match in numbered]
    if len(pairs) == len(lines) and _are_indices(pairs):
        try:
            return _ordered(pairs)
        except FormError as error:
            raise FormError(
                f"{error}; if the numbers belong to the labels, use a JSON list"
            ) from error
    return _distinct([line.strip() for line in lines])


def _are_indices(pairs: Sequence[Pair]) -> bool:
    """Report whether numbers before labels are indices, perhaps with a gap.

    They aren't if they only tell equal labels apart, such as "1 euro" and "2 euro".
    """
    indices = [index for index, _ in pairs]
    if set(indices) == set(range(len(pairs))):
        return True
    labels = {label for _, label in pairs}
    increases = all(first < second for first, second in pairwise(indices))
    return len(pairs) > 1 and increases and indices[0] <= 1 and len(labels) == len(pairs)


def from_csv(text: str) -> tuple[str, ...]:
    """Return the labels of rows, in the order of their indices if they have any."""
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = next((one for one in "\t;," if lines and one in lines[0]), ",")
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    if not rows:
        return ()
    header, index_column, label_column = _columns(rows)
    pairs = []
    for number, row in enumerate(rows[header:], start=header + 1):
        if max(index_column or 0, label_column) >= len(row) or not row[label_column]:
            raise FormError(f"row {number} has no label in column {label_column + 1}")
        index = number - header - 1 if index_column is None else row[index_column]
        pairs.append((_index(index, f"the index in row {number}"), row[label_column]))
    return _ordered(pairs)


def from_value(value: Any) -> tuple[str, ...]:
    """Return the labels of a list or an object."""
    if isinstance(value, Mapping):
        inner = next((value[key] for key in CONTAINERS if _is_container(value.get(key))), None)
        return _ordered(_pairs(value)) if inner is None else from_value(inner)
    if not isinstance(value, list | tuple):
        raise FormError('it is neither a list like ["cat", "dog"] nor an object like {"0": "cat"}')
    if value and all(isinstance(one, Mapping) for one in value):
        return _ordered([_record(one, position) for position, one in enumerate(value)])
    return _named(enumerate(value), "entry")


def _is_container(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and len(value) > 0)


def parse_literal(text: str) -> Any:
    """Parse JSON, or the same as a Python literal."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except FormError:
        raise
    except (ValueError, RecursionError) as error:
        try:
            with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
                return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            raise FormError(f'it is not JSON like ["cat", "dog"]: {error}') from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise FormError(f"the key {shown(key)} occurs {count} times")
    return dict(pairs)


def _columns(rows: Sequence[Sequence[str]]) -> tuple[int, int | None, int]:
    """Return the number of header rows, and the columns of the indices and of the labels."""
    names = [_spelled(cell) for cell in rows[0]]
    label = next((names.index(name) for name in _LABEL_NAMES if name in names), None)
    if label is not None and len(rows) > 1:
        return 1, _index_column(names, rows[1:], label), label
    is_header = len(rows) > 1 and _digits(rows[0]) is None and _digits(rows[1]) is not None
    row = rows[1] if is_header else rows[0]
    index = _digits(row) if len(row) > 1 else None
    label = len(row) - 1 if index != len(row) - 1 else 0
    return int(is_header), index, label


def _index_column(names: Sequence[str], rows: Sequence[Sequence[str]], label: int) -> int | None:
    """Return the column of the indices; a column of other numbers, such as counts, is none."""
    known = next((names.index(name) for name in _INDEX_NAMES if name in names), None)
    if known is not None:
        return known
    for column, name in enumerate(names):
        cells = [row[column] for row in rows if column < len(row)]
        is_class_number = name in _LABEL_NAMES and all(map(_is_index, cells))
        if cells and column != label and (is_class_number or _count_from_zero(cells)):
            return column
    return None


def _count_from_zero(texts: Sequence[str]) -> bool:
    """Report whether these are the numbers 0, 1, 2 and so on, in any order."""
    return all(map(_is_index, texts)) and set(map(int, texts)) == set(range(len(texts)))


def _spelled(name: str) -> str:
    """Return the name of a column or key as this module spells it: ClassId is class_id."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return re.sub(r"[\s-]", "_", words).lower()


def _digits(row: Sequence[str]) -> int | None:
    """Return the first column with a number."""
    return next((column for column, cell in enumerate(row) if _is_index(cell)), None)


def _pairs(content: Mapping[Any, Any]) -> list[Pair]:
    """Read {"cat": 0}, {"0": "cat"} or {"0": ["n02123045", "cat"]}."""
    values = list(content.values())
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return [(value, str(key)) for key, value in content.items()]
    keys = [_index(key, "the key") for key in content]
    order = sorted(zip(keys, values, strict=True), key=lambda pair: pair[0])
    return list(zip(sorted(keys), _named(order, "the label of"), strict=True))


def _named(values: Any, role: str) -> tuple[str, ...]:
    """Return a label for each value: a string, or a list of an identifier and the label."""
    labels, identifiers = [], []
    for index, value in values:
        parts = value if isinstance(value, list | tuple) and value else [value]
        if not isinstance(parts[-1], str) or not parts[-1].strip():
            raise FormError(f"{role} {index} is {shown(value)}, which is no label")
        labels.append(parts[-1].strip())
        identifiers.append(str(parts[0]))
    # Two of ImageNet's classes have the same name, and different identifiers.
    counts = Counter(labels)
    return _distinct(
        [
            f"{label} ({identifier})" if counts[label] > 1 and identifier != label else label
            for label, identifier in zip(labels, identifiers, strict=True)
        ]
    )


def _record(record: Mapping[Any, Any], position: int) -> Pair:
    values = {_spelled(str(key)): value for key, value in record.items()}
    label = next((values[name] for name in _LABEL_NAMES if name in values), None)
    if not isinstance(label, str) or not label.strip():
        raise FormError(f'record {position} has no name, like {{"id": 0, "name": "cat"}}')
    # {"label": 0, "name": "cat"} has its index under a name that is a label's elsewhere.
    numbers = [name for name in _LABEL_NAMES if isinstance(values.get(name), int)]
    known = next((name for name in (*_INDEX_NAMES, *numbers) if name in values), None)
    index = position if known is None else values[known]
    return _index(index, f"the index of record {position}"), label.strip()


def _index(value: Any, role: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip()
    if not _is_index(text):
        raise FormError(f"{role} is {shown(value)}; indices are 0, 1, 2 and so on")
    return int(text)


def _is_index(text: str) -> bool:
    return text.isdecimal() and len(text) <= _MAX_INDEX_DIGITS


def _ordered(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the labels in the order of their indices, which must be 0, 1, 2 and so on."""
    counts = Counter(index for index, _ in pairs)
    for index, count in sorted(counts.items()):
        if count > 1:
            names = [shown(label) for one, label in pairs if one == index]
            raise FormError(f"the index {index} occurs {count} times: {_some(names)}")
    missing = sorted(set(range(len(pairs))) - counts.keys())
    if missing:
        raise FormError(
            f"the index {missing[0]} is missing; the {len(pairs)} labels have indices from "
            f"{min(counts)} to {max(counts)}, and need 0 to {len(pairs) - 1}"
            + ("; subtract 1 from each" if sorted(counts) == list(range(1, len(pairs) + 1)) else "")
        )
    return _distinct([label for _, label in sorted(pairs)])


def _distinct(labels: Sequence[str]) -> tuple[str, ...]:
    for label, count in Counter(labels).items():
        if count > 1:
            places = [str(index) for index, one in enumerate(labels) if one == label]
            raise FormError(
                f"the label {shown(label)} occurs {count} times, for the classes "
                f"{_some(places)}; each class needs its own"
            )
    return tuple(labels)


def _some(values: Sequence[str]) -> str:
    """Return several values for a message: all, or the first and how many more there are."""
    more = len(values) - _MAX_PLACES
    return ", ".join(values[:_MAX_PLACES]) + (f" and {more} more" if more > 0 else "")
