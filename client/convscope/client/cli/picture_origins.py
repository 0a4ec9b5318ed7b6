"""Which image each file of a folder for pictures was made from.

Runs into the same folder replace the pictures of the same image, and no others. So each file
contains a digest of where its image is: a PNG as a text, and an archive of arrays as its comment.
"""

import os
import zipfile
from bisect import bisect_left
from hashlib import blake2b
from pathlib import Path

from convscope.client._drawing.png import read_origin
from convscope.client.cli.sources.source import Source

__all__ = ["ExistingPictures", "mark_arrays", "origin"]


def origin(source: Source) -> bytes:
    """Return a digest of an image's absolute path or URL; of its content without either."""
    if source.url:
        content = source.url.encode("utf-8", "replace")
    elif isinstance(source.image, bytes):
        content = source.image
    else:
        content = os.fsencode(os.path.realpath(source.image or source.name))
    return blake2b(content, digest_size=16).hexdigest().encode()


def mark_arrays(path: Path, image: bytes) -> None:
    """Add the origin to an npz file."""
    with zipfile.ZipFile(path, "a") as file:
        file.comment = image


class ExistingPictures:
    """The files that earlier runs left in a folder.

    Args:
        folder: The folder, which need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        found = (Path(at, name) for at, _, names in os.walk(folder) for name in names)
        self._names = sorted(path.relative_to(folder).as_posix() for path in found)

    def has_other(self, base: str, source: Source) -> bool:
        """Report whether files whose names begin so were made from another image."""
        position = bisect_left(self._names, f"{base}.")
        if position == len(self._names) or not self._names[position].startswith(f"{base}."):
            return False
        return _origin_of(self._folder / self._names[position]) != origin(source)


def _origin_of(path: Path) -> bytes | None:
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as file:
                return file.comment
        return read_origin(path)
    except (OSError, zipfile.BadZipFile):
        return None
