"""Reads the size of an encoded image from its first bytes, without decoding.

Every function takes a bounded number of steps, so that the event loop can call it. A
request has 64 images, so a small image may take few steps.
"""

import struct
from collections.abc import Callable

from convscope.server.errors import InvalidInputError
from convscope.server.inference.decoding.header import SAVE_AGAIN, Encoded, Header
from convscope.server.inference.decoding.jpeg_header import read_jpeg

__all__ = ["read_header"]

# Only crafted files have more before the pixels: so many, and one more for so many bytes of the
# file. A GIF's block has up to 255 bytes, and about 90 in XMP.
_MAX_GIF_BLOCKS, _GIF_BLOCK_BYTES, _MOST_GIF_BLOCKS = 128, 64, 4096
_GIF_CONTROL = b"!\xf9\4"  # the extension with the transparent color; four bytes and an end
# The working memory for a pixel of a WebP that may be lossless, or have an alpha channel.
_WEBP_BYTES = 5
# Bytes of a decoded PNG pixel, by bit depth above 8 and color type.
_PNG_BYTES = {(False, 0): 1, (False, 3): 1, (True, 0): 2}


def read_header(data: Encoded) -> Header | None:
    """Return the header of an encoded image; None if its format isn't supported.

    Raises:
        InvalidInputError: It is a variant of a format that isn't supported, or has too much
            before its pixels.
    """
    for magic, read in _READERS.items():
        if data[: len(magic)] == magic:
            try:
                return read(data)
            except (struct.error, IndexError, ValueError):  # it ends early, or declares nonsense
                return None
    return None


def _read_png(data: Encoded) -> Header | None:
    if data[12:16] != b"IHDR":
        return None
    width, height, depth, color = struct.unpack_from(">IIBB", data, 16)
    return Header("PNG", width, height, _PNG_BYTES.get((depth > 8, color), 4))


def _read_gif(data: Encoded) -> Header | None:
    """Read the canvas, and the first frame, which enlarges the canvas if it exceeds it."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)  # after the palette
    kept, in_extension = [(0, position)], False
    max_blocks = min(_MAX_GIF_BLOCKS + len(data) // _GIF_BLOCK_BYTES, _MOST_GIF_BLOCKS)
    for _ in range(max_blocks):
        if in_extension:  # blocks, each with its length, up to an empty one
            in_extension = data[position] > 0
            position += data[position] + 1
        elif data[position] == ord(","):
            left, top, frame_width, frame_height = struct.unpack_from("<4H", data, position + 1)
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            return Header("GIF", width, height, 1, scan_start=position, kept=tuple(kept))
        else:
            in_extension = data[position] == ord("!")
            if data[position : position + 3] == _GIF_CONTROL:
                kept[1:] = [(position, position + 8)]  # it names the transparent color
            position += 2 if in_extension else 1
    raise InvalidInputError(
        f"the GIF image has more than {max_blocks:,} blocks before its first frame; {SAVE_AGAIN}"
    )


def _read_bmp(data: Encoded) -> Header | None:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        width, height, _, depth = struct.unpack_from("<4H", data, 18)
    else:  # a negative height means rows from top to bottom
        width, height, _, depth = struct.unpack_from("<IiHH", data, 18)
    return Header("BMP", width, abs(height), 4 if depth > 8 else 1)


def _read_webp(data: Encoded) -> Header | None:
    kind = data[12:16]
    if data[8:12] != b"WEBP":
        return None
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X" and len(data) >= 30:
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    else:
        return None
    return Header("WEBP", width, height, 4, 0 if kind == b"VP8 " else _WEBP_BYTES)


_READERS: dict[bytes, Callable[[Encoded], Header | None]] = {
    b"\xff\xd8\xff": read_jpeg,
    b"\x89PNG\r\n\x1a\n": _read_png,
    b"RIFF": _read_webp,
    b"GIF87a": _read_gif,
    b"GIF89a": _read_gif,
    b"BM": _read_bmp,
}
