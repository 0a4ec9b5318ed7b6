"""What remains of an encoded image after the check of its structure."""

from collections.abc import Iterable
from dataclasses import dataclass

from convscope.server.errors import InvalidInputError

__all__ = ["Frame", "Range", "Stream", "damaged", "joined", "over_limit"]

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

    data: bytes
    orientation: int = 1
    part: Range = (0, 0)
    frame: Frame | None = None
    has_alpha: bool = False
    is_lossless: bool = False


def joined(data: bytes, ranges: Iterable[Range]) -> bytes:
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
    return b"".join(view[start:end] for start, end in merged)


def damaged(format: str, data: bytes, damage: str = "damaged") -> InvalidInputError:
    """Return the error for an image that is damaged or truncated."""
    return InvalidInputError(
        f"the {format} image of {len(data):,} bytes is {damage}; send a whole file"
    )


def over_limit(format: str, excess: str, fix: str) -> InvalidInputError:
    """Return the error for an image that is valid, but costs much more than its pixels.

    Args:
        format: The name of its format.
        excess: What it has, and how much of it is allowed.
        fix: What the caller can do.
    """
    return InvalidInputError(f"the {format} image has {excess}; {fix}")
