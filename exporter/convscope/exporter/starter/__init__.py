"""A project to start from: a small network of one's own, and a dataset for it."""

from importlib import resources
from pathlib import Path

from convscope.exporter.errors import ExporterError

__all__ = ["write_project"]


def write_project(directory: Path) -> list[Path]:
    """Write the files of the project; return their paths.

    Raises:
        ExporterError: One of them exists, or can't be written. Nothing was changed then.
    """
    source = resources.files(__name__) / "files"
    texts = {file.name: file.read_bytes() for file in source.iterdir() if file.is_file()}
    paths = {directory / name: text for name, text in sorted(texts.items())}
    for path in paths:
        if path.exists():
            raise ExporterError(
                f"{path} exists; nothing was written. Remove it, or name another directory"
            )
    if directory.exists() and not directory.is_dir():
        raise ExporterError(f"{directory} is a file; name another directory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in paths.items():
            path.write_bytes(text)
    except OSError as error:
        raise ExporterError(f"{directory} can't be written: {error.strerror}") from error
    return list(paths)
