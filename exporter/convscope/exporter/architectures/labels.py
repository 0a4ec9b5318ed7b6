"""Reads the names of classes."""

import json
from pathlib import Path

from convscope.exporter.datasets.registry import LABELS
from convscope.exporter.errors import ExporterError

__all__ = ["read_labels"]


def read_labels(source: str) -> tuple[str, ...]:
    """Return a dataset's labels by its name, or those of a file: JSON, or one label per line.

    Raises:
        ExporterError: The source is neither a dataset nor a file of labels.
    """
    if source in LABELS:
        return LABELS[source]
    try:
        text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(LABELS)
        raise ExporterError(
            f"{source!r} is neither a text file of labels nor a dataset; datasets: {known}"
        ) from error
    labels = _parse(text, source)
    if not labels:
        raise ExporterError(f"{source} has no labels; write one per line")
    return labels


def _parse(text: str, source: str) -> tuple[str, ...]:
    if not text.lstrip().startswith(("[", "{")):
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ExporterError(f"{source} isn't valid JSON") from error
    # ImageNet's usual file: {"0": ["n01440764", "tench"], ...}
    if isinstance(content, dict):
        content = [content[key] for key in sorted(content, key=int)]
    return tuple(str(value[-1] if isinstance(value, list) else value) for value in content)
