"""Label files: the name of each class, in the order of the network's outputs.

There is one rule for all commands. A file contains one of these:

- text: one label per line
- CSV: a column of labels, with or without a column of indices and a header
- a JSON list: of labels, or of records such as {"id": 0, "name": "cat"}
- a JSON object: of indices to labels, {"0": "cat"}, of indices to lists that end in
  the label, {"0": ["n02123045", "cat"]}, or of labels to indices, {"cat": 0}
- the same as a Python literal, {0: 'cat'}, as in the metadata of an ONNX model

The content decides, and not the file's suffix, except that a .json file contains JSON
and a .csv file CSV. A byte-order mark and empty lines are ignored; a label that is
missing shows in the number of labels.
"""

from collections.abc import Mapping
from pathlib import Path

from convscope.bundle.errors import InvalidValueError, reason_of
from convscope.bundle.label_forms import FormError, from_csv, from_lines, from_value, parse_literal

__all__ = ["labels_of_metadata", "read_labels"]

# Where exporters store the labels in an ONNX model's metadata; the first is Ultralytics'.
_METADATA_KEYS = ("names", "labels", "classes", "class_names", "id2label")
_EXPECTED = 'use a text file with one label per line, CSV, or JSON like ["cat", "dog"]'


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a label file.

    Raises:
        InvalidValueError: It can't be read as labels; the message names the line,
            the gap or the duplicate.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
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
    """Return the labels in an ONNX model's metadata; None if there are none that can be read."""
    for key in _METADATA_KEYS:
        text = metadata.get(key, "").strip()
        if not text:
            continue
        try:
            if text.startswith(("[", "{", "(")):
                return from_value(parse_literal(text))
            if any(separator in text for separator in ",\n"):
                return from_lines(text.replace(",", "\n"))
        except FormError:
            continue
    return None


def _parse(text: str, suffix: str) -> tuple[str, ...]:
    if suffix == ".json" or text.lstrip().startswith(("[", "{")):
        return from_value(parse_literal(text))
    return from_csv(text) if suffix in (".csv", ".tsv") else from_lines(text)
