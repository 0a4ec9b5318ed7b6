"""Reads the size of an encoded image from its first bytes, without decoding.

Every function takes a bounded number of steps, so that the event loop can call it. A
request has 64 images, so a small image may take few steps.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from convscope.server.errors import InvalidInputError

__all__ = ["Header", "read_header"]

# Only crafted files have more before the pixels: so many, and one more for so many bytes of the
# file. A JPEG's segment has up to 64 KiB, a GIF's block up to 255 bytes, and about 90 in XMP.
_MAX_JPEG_SEGMENTS, _JPEG_SEGMENT_BYTES = 64, 4096
_MAX_JPEG_FILLER = 4096  # bytes that belong to no segment
_MAX_JPEG_TABLE_BYTES = 131_072  # of the segments that the decoder reads; usually 700
_MAX_GIF_BLOCKS, _GIF_BLOCK_BYTES, _MOST_GIF_BLOCKS = 128, 64, 16_384
_SAVE_AGAIN = "save it again, without metadata"
# A marker that starts a segment: not a stuffed byte, a fill byte or a marker without content.
_JPEG_SEGMENT = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd9]")
_JPEG_SCAN = 0xDA
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SUPPORTED_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive
_JPEG_RESTART_INTERVAL = 0xDD
# The segments that the decoder needs: the frame, the tables, and what names the color space.
_JPEG_TABLES = frozenset({*_SUPPORTED_JPEG_FRAMES, 0xC4, 0xDB, 0xDD})
_JPEG_COLORS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
_EXIF = b"Exif\0\0"
_JPEG_APP1, _JPEG_XMP = 0xE1, b"http://ns.adobe.com/xap/1.0/\0"
_GIF_CONTROL = b"!\xf9\4"  # the extension with the transparent color; four bytes and an end
# The working memory for a pixel of a WebP that may be lossless, or have an alpha channel.
_WEBP_BYTES = 5
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
        working_bytes: Memory for one pixel while it is decoded, which decoding to scale doesn't
            reduce: the coefficients of a JPEG, the copies of a WebP.
        uneven_chroma: Whether a JPEG's channel is subsampled in one direction only.
        scan_start: The position of a JPEG's first scan, or of a GIF's first frame.
        restart_interval: Blocks of a JPEG between two restart markers; 0 without any.
        block: The width and height of such a block in pixels.
        has_one_scan: Whether the first scan of a JPEG is the only one.
        kept: The parts of a JPEG or GIF before its pixels that its decoder reads.
        exif: Where the EXIF profile of a JPEG is.
        xmp: Where the XMP metadata of a JPEG is.
    """

    format: str
    width: int
    height: int
    pixel_bytes: int
    working_bytes: int = 0
    uneven_chroma: bool = False
    scan_start: int = 0
    restart_interval: int = 0
    block: tuple[int, int] = (8, 8)
    has_one_scan: bool = False
    kept: tuple[tuple[int, int], ...] = ()
    exif: tuple[int, int] | None = None
    xmp: tuple[int, int] | None = None

    @property
    def pixels(self) -> int:
        """The number of pixels."""
        return self.width * self.height


def read_header(data: bytes) -> Header | None:
    """Return the header of an encoded image; None if its format isn't supported.

    Raises:
        InvalidInputError: It is a variant of a format that isn't supported, or has too much
            before its pixels.
    """
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
        f"the GIF image has more than {max_blocks:,} blocks before its first frame; {_SAVE_AGAIN}"
    )


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
    return Header("WEBP", width, height, 4, 0 if kind == b"VP8 " else _WEBP_BYTES)


def _read_jpeg(data: bytes) -> Header | None:
    found, position, filler = _JpegSegments(data), 2, _MAX_JPEG_FILLER
    max_segments = _MAX_JPEG_SEGMENTS + len(data) // _JPEG_SEGMENT_BYTES
    for _ in range(max_segments):
        match = _JPEG_SEGMENT.search(data, position, position + filler + 2)
        if match is None:
            if len(data) - position <= filler + 2:
                return None  # it is truncated
            raise InvalidInputError(
                f"the JPEG image has more than {_MAX_JPEG_FILLER:,} bytes between its segments; "
                f"{_SAVE_AGAIN}"
            )
        filler -= match.start() - position
        kind, body = data[match.end() - 1], match.end()
        if kind == _JPEG_SCAN:
            return found.header(match.start())
        position = body + int.from_bytes(data[body : body + 2])
        found.add(kind, body, position)
    raise InvalidInputError(
        f"the JPEG image has more than {max_segments:,} segments before its pixels; {_SAVE_AGAIN}"
    )


class _JpegSegments:
    """What the segments before the first scan of a JPEG declare.

    Args:
        data: The JPEG.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._frame: tuple[int, int] | None = None
        self._interval = self._kept_bytes = 0
        self._kept: list[tuple[int, int]] = []
        self._exif: tuple[int, int] | None = None
        self._xmp: tuple[int, int] | None = None

    def add(self, kind: int, body: int, end: int) -> None:
        """Note a segment of a kind, which is located from its length to its end."""
        data = self._data
        if kind in _JPEG_TABLES or data.startswith(_JPEG_COLORS.get(kind, b"-"), body + 2):
            self._keep(body - 2, end)
        if kind in _JPEG_FRAMES:
            if kind not in _SUPPORTED_JPEG_FRAMES or data[body + 2] != 8:
                raise InvalidInputError(_unsupported_frame(kind, data[body + 2]))
            if self._frame is not None:
                raise InvalidInputError("the JPEG image has two frames; save it again")
            self._frame = kind, body
        elif kind == _JPEG_RESTART_INTERVAL:
            (self._interval,) = struct.unpack_from(">H", data, body + 2)
        elif kind == _JPEG_APP1:
            if data.startswith(_EXIF, body + 2):
                self._exif = self._exif or (body + 2, end)
            elif data.startswith(_JPEG_XMP, body + 2):
                self._xmp = body + 2, end

    def header(self, scan_start: int) -> Header | None:
        """Return the header of the JPEG; None without a frame."""
        if self._frame is None:
            return None
        found = _jpeg_header(self._data, self._frame, scan_start, self._interval)
        return replace(found, kept=tuple(self._kept), exif=self._exif, xmp=self._xmp)

    def _keep(self, start: int, end: int) -> None:
        self._kept_bytes += end - start
        if self._kept_bytes > _MAX_JPEG_TABLE_BYTES:
            raise InvalidInputError(
                f"the JPEG image has more than {_MAX_JPEG_TABLE_BYTES:,} bytes of tables; "
                "save it again"
            )
        self._kept.append((start, end))


def _unsupported_frame(kind: int, bits: int) -> str:
    if kind in _SUPPORTED_JPEG_FRAMES:
        return f"the JPEG image has {bits} bits per channel; save it with 8"
    coding = "arithmetic coding" if kind > 0xC8 else "lossless or hierarchical coding"
    return f"the JPEG image has {coding}, which isn't supported; save it as baseline JPEG"


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
        working_bytes=int(2 * samples + 0.5) if several else 0,
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
