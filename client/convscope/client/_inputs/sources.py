"""Images that are given by something else: open files, buffers, and paths with `~`."""

from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from convscope.client.errors import InvalidInputError

__all__ = ["BinaryFile", "is_file", "resolve_source"]

# A PIL image has no read, but those of other libraries may have one.
_UNCHANGED = (np.ndarray, bytes)
_NO_FILES = (Image.Image, np.ndarray)


class BinaryFile(Protocol):
    """A file that is open for reading bytes, such as `open(path, "rb")` or `io.BytesIO`."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes; by default all that remain."""


def is_file(image: object) -> bool:
    """Report whether an image is an open file, whose reading may block."""
    # A check against the protocol itself takes ten times as long as encoding a small image.
    return hasattr(image, "read") and not isinstance(image, _NO_FILES)


def resolve_source(image: Any) -> Any:
    """Return an image as a path without `~`, as bytes, or unchanged if it is neither.

    An open file is read from its position to its end, and stays open.

    Raises:
        InvalidInputError: A file can't be read, or is open for text.
    """
    if isinstance(image, _UNCHANGED):
        return image
    match image:
        case bytearray() | memoryview():
            return bytes(image)
        case str() | PathLike():
            return _path(fspath(image))
    return _content(image) if is_file(image) else image


def _path(path: str | bytes) -> Path:
    if isinstance(path, bytes):
        raise InvalidInputError(f"the path {path!r} is bytes; give it as str")
    if not path:
        raise InvalidInputError("the path of the image is empty")
    if path.startswith(("http://", "https://")):
        raise InvalidInputError(f"the image {path!r} is a URL; download it, and give its bytes")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # there is no such user, or no home directory
        raise InvalidInputError(f"the path {path!r} can't be read: {error}") from error


def _open_for_text(shown: str) -> InvalidInputError:
    return InvalidInputError(f'{shown} is open for text; open it with mode "rb"')


def _content(file: BinaryFile) -> bytes:
    name = getattr(file, "name", None)
    shown = f"the file {name!r}" if isinstance(name, str) else "the file"
    try:
        content = file.read()
    except UnicodeDecodeError as error:
        raise _open_for_text(shown) from error
    except (OSError, ValueError) as error:  # ValueError: it is closed
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{shown} can't be read: {reason}") from error
    if isinstance(content, str):
        raise _open_for_text(shown)
    if not content:
        raise InvalidInputError(f"{shown} has no bytes after its position; rewind it with seek(0)")
    return bytes(content)
