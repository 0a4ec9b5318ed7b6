"""Reads the names of classes."""

from pathlib import Path

from convscope.bundle.labels import read_labels as read_label_file
from convscope.exporter.datasets.registry import LABELS
from convscope.exporter.errors import ExporterError

__all__ = ["read_labels"]


def read_labels(source: str) -> tuple[str, ...]:
    """Return a dataset's labels by its name, or those of a file.

    Raises:
        ExporterError: The source is neither a dataset nor a file.
        InvalidValueError: The file can't be read as labels.
    """
    if source in LABELS:
        return LABELS[source]
    path = Path(source)
    if not path.is_file():
        raise ExporterError(
            f"{source!r} is neither a file of labels nor a dataset; datasets: {', '.join(LABELS)}"
        )
    return read_label_file(path)
