"""Finds the first frame of a WebP, and the orientation in its metadata."""

import struct
from dataclasses import dataclass

from convscope.server.inference.decoding.header import Encoded, Header
from convscope.server.inference.decoding.structure.metadata import (
    MAX_METADATA_BYTES,
    exif_orientation,
    xmp_orientation,
)
from convscope.server.inference.decoding.structure.stream import (
    Frame,
    Range,
    Stream,
    damaged,
    over_limit,
)

__all__ = ["inspect"]

# So many chunks, and one more for so many bytes. Each frame of an animation has one.
MAX_CHUNKS, CHUNK_BYTES = 1024, 1024
_LOSSY, _LOSSLESS = b"VP8 ", b"VP8L"
_CHUNK_HEADER_BYTES = 8
_FRAME_HEADER_BYTES = 16
_ALPHA_FLAG = 0x10


@dataclass(slots=True)
class _Parts:
    """Where the parts of a file or of a frame are, with their headers; the first of each kind."""

    pixels: Range | None = None
    alpha: Range | None = None
    animation: Range | None = None
    exif: Range | None = None
    xmp: Range | None = None


_NAMES = {
    _LOSSY: "pixels",
    _LOSSLESS: "pixels",
    b"ALPH": "alpha",
    b"ANMF": "animation",
    b"EXIF": "exif",
    b"XMP ": "xmp",
}


def inspect(data: Encoded, header: Header) -> Stream:
    """Check a WebP; return the part that has its first frame.

    Raises:
        InvalidInputError: It is damaged, truncated or over a limit.
    """
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise damaged("WEBP", data, "truncated")
    parts = _find(data, (12, size + 8))
    orientation = _orientation(data, parts)
    frame = Frame(0, 0, header.width, header.height)
    is_still = parts.pixels is not None
    if parts.pixels is None and parts.animation is not None:
        start, end = parts.animation
        frame = _frame(data, parts.animation, header)
        parts = _find(data, (start + _CHUNK_HEADER_BYTES + _FRAME_HEADER_BYTES, end))
    if parts.pixels is None or _size(data, parts.pixels) != (frame.width, frame.height):
        raise damaged("WEBP", data)
    start, end = parts.pixels
    is_lossless = data[start : start + 4] == _LOSSLESS
    has_alpha = is_lossless or parts.alpha is not None
    if is_lossless and is_still:  # as in libwebp, whatever the flag of the file states
        has_alpha = bool(data[start + 12] & 0x10)
    elif data[12:16] == b"VP8X":
        # Without the flag, the canvas that the frame doesn't cover is black.
        covers_all = (frame.width, frame.height) == (header.width, header.height)
        has_alpha = bool(data[20] & _ALPHA_FLAG) and (has_alpha or not covers_all)
    if has_alpha and not is_lossless and parts.alpha is not None:
        start = min(start, parts.alpha[0])
    return Stream(data, orientation, (start, end), frame, has_alpha, is_lossless)


def _find(data: Encoded, within: Range) -> _Parts:
    """Find the parts of a file or a frame."""
    parts, (position, end) = _Parts(), within
    max_chunks = MAX_CHUNKS + len(data) // CHUNK_BYTES
    for _ in range(max_chunks):
        if position + _CHUNK_HEADER_BYTES > end:
            return parts
        kind, size = struct.unpack_from("<4sI", data, position)
        following = position + _CHUNK_HEADER_BYTES + size
        if following > end:
            raise damaged("WEBP", data, "truncated")
        name = _NAMES.get(kind)
        if name is not None and getattr(parts, name) is None:
            setattr(parts, name, (position, following))
        position = following + (size & 1)
    raise over_limit("WEBP", f"more than {max_chunks:,} chunks", "save it again")


def _orientation(data: Encoded, parts: _Parts) -> int:
    found = None
    if parts.exif is not None:
        found = exif_orientation(_content(data, parts.exif))
    if found is None and parts.xmp is not None:
        found = xmp_orientation(_content(data, parts.xmp))
    return found or 1


def _content(data: Encoded, part: Range) -> Encoded:
    start = part[0] + _CHUNK_HEADER_BYTES
    return data[start : min(part[1], start + MAX_METADATA_BYTES)]


def _frame(data: Encoded, part: Range, header: Header) -> Frame:
    """Read the part of the canvas that the first frame covers."""
    start = part[0] + _CHUNK_HEADER_BYTES
    if part[1] - start < _FRAME_HEADER_BYTES:
        raise damaged("WEBP", data)
    left, top, width, height = (
        int.from_bytes(data[position : position + 3], "little")
        for position in range(start, start + 12, 3)
    )
    frame = Frame(2 * left, 2 * top, width + 1, height + 1)
    if frame.left + frame.width > header.width or frame.top + frame.height > header.height:
        raise damaged("WEBP", data)
    return frame


def _size(data: Encoded, part: Range) -> tuple[int, int]:
    """Return the width and height in the header of the pixels."""
    start, end = part
    content = start + _CHUNK_HEADER_BYTES
    if data[start : start + 4] == _LOSSLESS:
        if end - content < 5:
            raise damaged("WEBP", data)
        (bits,) = struct.unpack_from("<I", data, content + 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if end - content < 10:
        raise damaged("WEBP", data)
    width, height = struct.unpack_from("<HH", data, content + 6)
    return width & 0x3FFF, height & 0x3FFF
