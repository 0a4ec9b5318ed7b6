"""Label files: the name of each class, in order."""

import json
from pathlib import Path
from typing import Any

from convscope.bundle.errors import InvalidValueError, reason_of

__all__ = ["read_labels"]


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a label file: one label a line, or JSON.

    JSON is a list of strings, or ImageNet's usual {"0": ["n01440764", "tench"], …},
    whose last strings are the labels.

    Raises:
        InvalidValueError: It can't be read as labels.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValueError(
            f"the labels in {path} can't be read: {reason_of(error)}; use a text file with one "
            "label a line, or JSON"
        ) from error
    is_json = path.suffix == ".json" or text.lstrip().startswith(("[", "{"))
    labels = _from_json(text, path) if is_json else _from_lines(text)
    if not labels:
        raise InvalidValueError(f"{path} holds no labels; write one a line")
    return labels


def _from_lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _from_json(text: str, path: Path) -> tuple[str, ...]:
    try:
        content = json.loads(text)
        if isinstance(content, dict):
            content = [content[key] for key in sorted(content, key=int)]
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(
            f'{path} is not JSON like ["cat", "dog"]: {reason_of(error)}'
        ) from error
    labels = [_label(value) for value in content] if isinstance(content, list) else [None]
    if None in labels:
        raise InvalidValueError(
            f'{path} holds no JSON list of strings; write one for each class, like ["cat", "dog"]'
        )
    return tuple(label for label in labels if label is not None)


def _label(value: Any) -> str | None:
    last = value[-1] if isinstance(value, list) and value else value
    return last if isinstance(last, str) else None
