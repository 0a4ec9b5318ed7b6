"""Reads the size of an encoded image from its first bytes, without decoding.

Every function takes a bounded number of steps, so that the event loop can call it. A
request has 64 images, so a small image may take few steps.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Header", "read_header"]

# Only crafted files have more before the pixels: so many, and one more for so many bytes of the
# file. A JPEG's segment has up to 64 KiB, a GIF's block up to 255 bytes, and about 90 in XMP.
_MAX_JPEG_SEGMENTS, _JPEG_SEGMENT_BYTES = 64, 4096
_MAX_JPEG_FILLER = 4096  # bytes that belong to no segment
_MAX_GIF_BLOCKS, _GIF_BLOCK_BYTES = 128, 64
# A marker that starts a segment: not a stuffed byte, a fill byte or a marker without content.
_JPEG_SEGMENT = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd9]")
_JPEG_SCAN = 0xDA
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_RESTART_INTERVAL = 0xDD
# Bytes of a decoded PNG pixel, by bit depth above 8 and color type.
_PNG_BYTES = {(False, 0): 1, (False, 3): 1, (True, 0): 2}


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an encoded image declare.

    Args:
        format: The name of its format.
        width: Pixels in a row as stored, before its orientation is applied.
        height: Rows as stored.
        pixel_bytes: Memory for one pixel that is decoded.
        coefficient_bytes: Memory for one pixel that decoding to scale doesn't reduce.
        uneven_chroma: Whether a JPEG's channel is subsampled in one direction only.
        scan_start: The position of a JPEG's first scan.
        restart_interval: Blocks of a JPEG between two restart markers; 0 without any.
        block: The width and height of such a block in pixels.
        has_one_scan: Whether the first scan of a JPEG is the only one.
    """

    format: str
    width: int
    height: int
    pixel_bytes: int
    coefficient_bytes: int = 0
    uneven_chroma: bool = False
    scan_start: int = 0
    restart_interval: int = 0
    block: tuple[int, int] = (8, 8)
    has_one_scan: bool = False

    @property
    def pixels(self) -> int:
        """The number of pixels."""
        return self.width * self.height


def read_header(data: bytes) -> Header | None:
    """Return the header of an encoded image; None if its format isn't supported."""
    for magic, read in _READERS.items():
        if data.startswith(magic):
            try:
                return read(data)
            except (struct.error, IndexError, ValueError):  # it ends early, or declares nonsense
                return None
    return None


def _read_png(data: bytes) -> Header | None:
    if data[12:16] != b"IHDR":
        return None
    width, height, depth, color = struct.unpack_from(">IIBB", data, 16)
    return Header("PNG", width, height, _PNG_BYTES.get((depth > 8, color), 4))


def _read_gif(data: bytes) -> Header | None:
    """Read the canvas, and the first frame, which enlarges the canvas if it exceeds it."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)  # after the palette
    in_extension = False
    for _ in range(_MAX_GIF_BLOCKS + len(data) // _GIF_BLOCK_BYTES):
        if in_extension:  # blocks, each with its length, up to an empty one
            in_extension = data[position] > 0
            position += data[position] + 1
        elif data[position] == ord(","):
            left, top, frame_width, frame_height = struct.unpack_from("<4H", data, position + 1)
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            return Header("GIF", width, height, 1)
        else:
            in_extension = data[position] == ord("!")
            position += 2 if in_extension else 1
    return None


def _read_bmp(data: bytes) -> Header | None:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        width, height, _, depth = struct.unpack_from("<4H", data, 18)
    else:  # a negative height means rows from top to bottom
        width, height, _, depth = struct.unpack_from("<IiHH", data, 18)
    return Header("BMP", width, abs(height), 4 if depth > 8 else 1)


def _read_webp(data: bytes) -> Header | None:
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
    # libwebp has two canvases; it returns a copy, which Pillow copies to its own layout.
    return Header("WEBP", width, height, 16)


def _read_jpeg(data: bytes) -> Header | None:
    frame, interval, position, filler = None, 0, 2, _MAX_JPEG_FILLER
    for _ in range(_MAX_JPEG_SEGMENTS + len(data) // _JPEG_SEGMENT_BYTES):
        match = _JPEG_SEGMENT.search(data, position, position + filler + 2)
        if match is None:
            return None
        filler -= match.start() - position
        kind, body = data[match.end() - 1], match.end()
        if kind == _JPEG_SCAN:
            return frame and _jpeg_header(data, frame, match.start(), interval)
        if kind in _JPEG_FRAMES:
            frame = kind, body
        elif kind == _JPEG_RESTART_INTERVAL:
            (interval,) = struct.unpack_from(">H", data, body + 2)
        (length,) = struct.unpack_from(">H", data, body)
        position = body + length
    return None


def _jpeg_header(data: bytes, frame: tuple[int, int], start: int, interval: int) -> Header:
    kind, body = frame
    height, width, channels = struct.unpack_from(">HHB", data, body + 3)
    samplings = [data[body + 9 + 3 * channel] for channel in range(channels)]
    sides = [(sampling >> 4, sampling & 15) for sampling in samplings]
    widest, tallest = max(h for h, _ in sides), max(v for _, v in sides)
    # A file with several scans keeps the coefficients of all of them, two bytes each.
    several = kind == 0xC2 or data[start + 4] < channels
    samples = sum(h * v for h, v in sides) / max(widest * tallest, 1)
    block = (8, 8) if channels == 1 else (8 * max(widest, 1), 8 * max(tallest, 1))
    return Header(
        "JPEG",
        width,
        height,
        pixel_bytes=1 if channels == 1 else 4,
        coefficient_bytes=int(2 * samples + 0.5) if several else 0,
        uneven_chroma=any(h * tallest != v * widest for h, v in sides),
        scan_start=start,
        restart_interval=interval,
        block=block,
        has_one_scan=not several,
    )


_READERS: dict[bytes, Callable[[bytes], Header | None]] = {
    b"\xff\xd8\xff": _read_jpeg,
    b"\x89PNG\r\n\x1a\n": _read_png,
    b"RIFF": _read_webp,
    b"GIF87a": _read_gif,
    b"GIF89a": _read_gif,
    b"BM": _read_bmp,
}
