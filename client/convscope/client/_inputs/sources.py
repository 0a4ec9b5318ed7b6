"""Images that are given by something else: open files, buffers, and paths with `~`."""

from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convscope.client._inputs.arguments import BinaryFile, Tensor
from convscope.client.errors import InvalidInputError

__all__ = ["IN_MEMORY", "is_file", "is_path", "resolve_source"]

# They are sorted out first: to check that an object isn't a path or a file takes longer than to
# encode a small image.
IN_MEMORY = (Tensor, np.ndarray, bytes)
# Tuples: an isinstance with a union makes the union each time.
_PATHS = (str, PathLike)


def is_path(image: object) -> bool:
    """Report whether an image is a path."""
    return not isinstance(image, IN_MEMORY) and isinstance(image, _PATHS)


def is_file(image: object) -> bool:
    """Report whether an image is an open file, whose reading may block."""
    # A PIL image has no read, but those of other libraries may have one.
    return not isinstance(image, (*IN_MEMORY, Image.Image)) and hasattr(image, "read")


def resolve_source(image: Any) -> Any:
    """Return an image as a path without `~`, as bytes, or unchanged if it is neither.

    An open file is read from its position to its end, and stays open.

    Raises:
        InvalidInputError: A file can't be read, or is open for text.
    """
    if isinstance(image, IN_MEMORY):
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
