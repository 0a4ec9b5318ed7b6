"""What remains of an encoded image after the check of its structure."""

from collections.abc import Iterable
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET, BytesIO
from typing import Any

import numpy as np

from convscope.server.errors import InvalidInputError
from convscope.server.inference.decoding.header import Encoded

__all__ = ["Frame", "Range", "Stream", "damaged", "joined", "over_limit"]

# Larger files are copied and read in parts, so that other threads run meanwhile.
LARGE_BYTES = 256 * 1024

Range = tuple[int, int]  # the positions of the first byte, and of the one after the last


@dataclass(frozen=True, slots=True)
class Frame:
    """The part of a WebP's canvas that its first frame covers.

    Args:
        left: Its first column.
        top: Its first row.
        width: Its width in pixels.
        height: Its height in pixels.
    """

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Stream:
    """What the decoder of an image reads.

    Args:
        data: A file of the image's format. Except for WebP, it has no metadata.
        orientation: The EXIF orientation, a number from the metadata; 1 without any.
        part: Where the first frame of a WebP is in the file.
        frame: The part of a WebP's canvas that it covers.
        has_alpha: Whether a WebP has transparent pixels.
        is_lossless: Whether the pixels of a WebP are in its lossless format.
    """

    data: Encoded
    orientation: int = 1
    part: Range = (0, 0)
    frame: Frame | None = None
    has_alpha: bool = False
    is_lossless: bool = False

    @property
    def read_bytes(self) -> int:
        """How much of the file is read at once."""
        return len(self.data) if isinstance(self.data, bytes) else LARGE_BYTES

    def open(self) -> Any:
        """Return a file object, which copies nothing but what is read."""
        return BytesIO(self.data) if isinstance(self.data, bytes) else _File(self.data)


class _File:
    """A file object for a memoryview, with what Pillow uses of one."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes, all by default."""
        start, end = self._position, len(self._data)
        if size is not None and size >= 0:
            end = min(end, start + size)
        self._position = max(start, end)
        return bytes(self._data[start:end])

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move to a position."""
        origin = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: len(self._data)}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position


def joined(data: Encoded, ranges: Iterable[Range]) -> Encoded:
    """Return the parts of a file as one; the file itself, without a copy, if they are all of it.

    Args:
        data: The file.
        ranges: The parts, in the order of their positions.
    """
    merged: list[Range] = []
    for start, end in ranges:
        if merged and merged[-1][1] == start:
            merged[-1] = merged[-1][0], end
        else:
            merged.append((start, end))
    if merged == [(0, len(data))]:
        return data
    view = memoryview(data)
    size = sum(end - start for start, end in merged)
    if size < LARGE_BYTES:
        return b"".join(view[start:end] for start, end in merged)
    copy = np.empty(size, np.uint8)  # other threads run while NumPy copies
    position = 0
    for start, end in merged:
        copy[position : position + end - start] = np.frombuffer(view[start:end], np.uint8)
        position += end - start
    return copy.data


def damaged(format: str, data: Encoded, damage: str = "damaged") -> InvalidInputError:
    """Return the error for an image that is damaged or truncated."""
    return InvalidInputError(
        f"the {format} image of {len(data):,} bytes is {damage}; use a whole file"
    )


def over_limit(format: str, excess: str, fix: str) -> InvalidInputError:
    """Return the error for an image that is valid, but costs much more than its pixels.

    Args:
        format: The name of its format.
        excess: What it has, and how much of it is allowed.
        fix: What the caller can do.
    """
    return InvalidInputError(f"the {format} image has {excess}; {fix}")
