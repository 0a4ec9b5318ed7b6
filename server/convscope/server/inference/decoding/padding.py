"""Padding around images that are resized to fit into the graph's input, as in a letterbox."""

import numpy as np
from numpy.typing import NDArray

from convscope.server.inference.decoding.orientation import Box
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Padding"]


class Padding:
    """The size and place of an image within the graph's input, and what surrounds it.

    Args:
        rule: The manifest's padding.
        height: The graph's input height in pixels.
        width: The graph's input width in pixels.
    """

    def __init__(self, rule: pb.Padding, height: int, width: int) -> None:
        self._height, self._width = height, width
        self._is_centered = rule.placement == pb.PLACEMENT_CENTER
        self._color = np.array(rule.color, np.uint8)

    def fitted(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that an image is resized to."""
        scale = min(self._width / width, self._height / height)
        return max(round(width * scale), 1), max(round(height * scale), 1)

    def box(self, width: int, height: int) -> Box:
        """Return what the graph's input shows, in pixels of an image: more than the image."""
        fitted_width, fitted_height = self.fitted(width, height)
        left, top = self._corner(fitted_width, fitted_height)
        x, y = width / fitted_width, height / fitted_height
        return -left * x, -top * y, (self._width - left) * x, (self._height - top) * y

    def around(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the graph's input with a fitted image on it, uint8 [height, width, channels]."""
        height, width, channels = image.shape
        left, top = self._corner(width, height)
        page = np.empty((self._height, self._width, channels), np.uint8)
        page[:] = self._color
        page[top : top + height, left : left + width] = image
        return page

    def _corner(self, width: int, height: int) -> tuple[int, int]:
        """Return the left and upper edge of a fitted image."""
        if not self._is_centered:
            return 0, 0
        return (self._width - width) // 2, (self._height - height) // 2
