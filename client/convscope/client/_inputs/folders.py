"""Folders and patterns in the place of an image: how their files are classified."""

import glob
from collections import Counter
from itertools import islice
from os import PathLike, fspath
from pathlib import Path

__all__ = ["files_of", "files_of_pattern"]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
_FILES_READ = 1000


def files_of(folder: str | PathLike[str]) -> str:
    """Return the Python expression for the images of a folder."""
    return _files(fspath(folder), f"*{_suffix(Path(folder).expanduser())}")


def files_of_pattern(path: str | Path) -> str | None:
    """Return the Python expression for the files of a pattern; None if a path has no wildcard."""
    parts = Path(path).parts
    first = next((index for index, part in enumerate(parts) if glob.has_magic(part)), None)
    return None if first is None else _files(str(Path(*parts[:first])), "/".join(parts[first:]))


def _files(folder: str, pattern: str) -> str:
    home = ".expanduser()" if folder.startswith("~") else ""
    return f"sorted(Path({folder!r}){home}.glob({pattern!r}))"


def _suffix(folder: Path) -> str:
    """Return the most frequent suffix of a folder's images; .jpg if it has none."""
    try:
        suffixes = Counter(path.suffix for path in islice(folder.iterdir(), _FILES_READ))
    except OSError:
        suffixes = Counter()
    images = (suffix for suffix, _ in suffixes.most_common() if suffix.lower() in _SUFFIXES)
    return next(images, ".jpg")
