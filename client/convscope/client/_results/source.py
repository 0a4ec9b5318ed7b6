"""The image of a result, for the pictures of notebooks."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from PIL import Image

from convscope.client._inputs.arguments import ImageLike, Tensor
from convscope.client._inputs.sources import IN_MEMORY, is_path
from convscope.client._inputs.upright import open_upright
from convscope.client.errors import ConvscopeError

__all__ = ["Source", "image_name"]


class Source:
    """The classified image, if it is still available.

    A pickled result keeps only the path of its image.
    """

    __slots__ = ("_image",)

    def __init__(self, image: ImageLike) -> None:
        self._image: ImageLike | None = None if isinstance(image, Tensor) else image

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._image if isinstance(self._image, str | PathLike) else None,)

    def open(self) -> Image.Image | None:
        """Return the upright image; None if it can't be read, or not any more."""
        if self._image is None:
            return None
        try:
            return open_upright(self._image)
        except (ConvscopeError, MemoryError):
            return None


def _restore(path: str | Path | None) -> Source | None:
    return None if path is None else Source(path)


def image_name(image: object) -> str:
    """Return the name of an image: its path, the file that it was opened from, or nothing."""
    if isinstance(image, IN_MEMORY):
        return ""
    if is_path(image):
        return str(image)
    # A PIL image has `filename`, and an open file `name`, which may be a number.
    name = getattr(image, "filename", None) or getattr(image, "name", None)
    return name if isinstance(name, str) else ""
