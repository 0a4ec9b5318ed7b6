"""The images of `classify_many`: any iterable but a single image."""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convscope.client._inputs.arguments import Tensor
from convscope.client._inputs.folders import files_of, files_of_pattern
from convscope.client._inputs.sources import is_file
from convscope.client.errors import InvalidInputError

__all__ = ["check_images"]

_PATHS = (str, PathLike)
_SINGLE = (bytes, bytearray, memoryview, Image.Image, Tensor)
_COLOR_CHANNELS = (3, 4)


def check_images(images: Any) -> None:
    """Check that a value is an iterable of images.

    Raises:
        InvalidInputError: It is a single image, a folder, a pattern, or can't be iterated over.
    """
    if isinstance(images, _PATHS) and _is_folder(images):
        raise InvalidInputError(
            f"images is the folder {str(images)!r}; to classify its files, call "
            f"classify_many({files_of(images)})"
        )
    if isinstance(images, str) and not _exists(images) and (files := files_of_pattern(images)):
        raise InvalidInputError(
            f"images is the pattern {images!r}; patterns are for the command line; in Python call "
            f"classify_many({files})"
        )
    if isinstance(images, (*_PATHS, *_SINGLE)) or is_file(images) or _is_one_array(images):
        shown = f", an array {list(images.shape)}" if isinstance(images, np.ndarray) else ""
        raise InvalidInputError(
            f"images is a single image{shown}; put it in a list, or call classify"
        )
    if not isinstance(images, Iterable):
        raise InvalidInputError(f"images is {images!r}; give a list or another iterable of images")


def _is_folder(path: Any) -> bool:
    try:
        return Path(path).expanduser().is_dir()
    except (OSError, RuntimeError, TypeError):  # no home directory, or a path of bytes
        return False


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _is_one_array(images: Any) -> bool:
    """Report whether an array is one image: iterating over it would send each of its rows."""
    if not isinstance(images, np.ndarray):
        return False
    return images.ndim < 3 or (images.ndim == 3 and images.shape[2] in _COLOR_CHANNELS)
