"""Label files: the name of each class, in the order of the network's outputs.

There is one rule for all commands. A file contains one of these:

- text: one label per line
- CSV: a column of labels, with or without a column of indices and a header
- a JSON list: of labels, or of records such as {"id": 0, "name": "cat"}
- a JSON object: of indices to labels, {"0": "cat"}, of indices to lists that end in
  the label, {"0": ["n02123045", "cat"]}, or of labels to indices, {"cat": 0}
- a JSON object with one of these under names, labels, classes, class_names or id2label
- the same as a Python literal, {0: 'cat'}, as in the metadata of an ONNX model

The content decides, and not the file's suffix, except that a .json file contains JSON
and a .csv file CSV. A byte-order mark and empty lines are ignored; a label that is
missing shows in the number of labels.
"""

from collections.abc import Mapping
from pathlib import Path

from convscope.bundle.errors import InvalidValueError, reason_of
from convscope.bundle.label_forms import (
    CONTAINERS,
    FormError,
    from_csv,
    from_lines,
    from_value,
    parse_literal,
)

__all__ = ["labels_of_metadata", "read_labels"]

_OTHER_FORMATS = (".yaml", ".yml", ".pbtxt", ".xml", ".toml")
# A manifest with so many could not be read.
MAX_LABEL_BYTES = 4 * 2**20
_EXPECTED = 'use a text file with one label per line, CSV, or JSON like ["cat", "dog"]'


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a label file.

    Raises:
        InvalidValueError: It can't be read as labels; the message names the line,
            the gap or the duplicate.
    """
    if path.suffix.lower() in _OTHER_FORMATS:
        raise InvalidValueError(f"{path} is {path.suffix[1:]}; {_EXPECTED}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LABEL_BYTES + 1)
        if len(data) > MAX_LABEL_BYTES:
            raise InvalidValueError(
                f"{path} has more than {MAX_LABEL_BYTES:,} bytes, too many for labels; {_EXPECTED}"
            )
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValueError(
            f"the labels in {path} can't be read: {reason_of(error)}; {_EXPECTED} in UTF-8"
        ) from error
    try:
        labels = _parse(text, path.suffix.lower())
    except FormError as error:
        raise InvalidValueError(f"{path} has no usable labels: {error}") from error
    if not labels:
        raise InvalidValueError(f"{path} has no labels; {_EXPECTED}")
    return labels


def labels_of_metadata(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the labels in an ONNX model's metadata; None if there are none.

    Raises:
        InvalidValueError: There are, but they can't be used.
    """
    problem: InvalidValueError | None = None
    for key in CONTAINERS:
        try:
            labels = _parse_entry(metadata.get(key, "").strip())
        except FormError as error:
            problem = problem or InvalidValueError(
                f"the model's metadata has no usable labels in {key!r}: {error}; pass them with "
                "--labels FILE"
            )
            continue
        if labels:
            return labels
    if problem is not None:
        raise problem
    return None


def _parse_entry(text: str) -> tuple[str, ...] | None:
    if text.startswith(("[", "{", "(")):
        return from_value(parse_literal(text))
    if any(separator in text for separator in ",\n"):
        return from_lines(text.replace(",", "\n"))
    return None


def _parse(text: str, suffix: str) -> tuple[str, ...]:
    if suffix == ".json" or text.lstrip().startswith(("[", "{")):
        return from_value(parse_literal(text))
    return from_csv(text) if suffix in (".csv", ".tsv") else from_lines(text)
