"""Reads the segments of a JPEG before its pixels: its size, its tables, where its metadata is."""

import re
import struct

from convscope.server.errors import InvalidInputError
from convscope.server.inference.decoding.header import SAVE_AGAIN, Encoded, Header

__all__ = ["read_jpeg"]

# Only crafted files have more before the pixels: so many, and one more for so many bytes of the
# file. A segment has up to 64 KiB.
_MAX_SEGMENTS, _SEGMENT_BYTES = 64, 32_768
_MAX_FILLER = 4096  # bytes that belong to no segment
_MAX_TABLE_BYTES = 131_072  # of the segments that the decoder reads; usually 700
# A marker that starts a segment: not a stuffed byte, a fill byte or a marker without content.
_SEGMENT = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd9]")
_SCAN = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SUPPORTED_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive
_RESTART_INTERVAL = 0xDD
# The segments that the decoder needs: the frame, the tables, and what names the color space.
_TABLES = frozenset({*_SUPPORTED_FRAMES, 0xC4, 0xDB, 0xDD})
_PLAIN_TABLES = frozenset({0xC4, 0xDB})
_COLORS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
_EXIF = b"Exif\0\0"
_APP1, _XMP = 0xE1, b"http://ns.adobe.com/xap/1.0/\0"


def read_jpeg(data: Encoded) -> Header | None:
    """Read the segments of a JPEG up to its first scan; return None if it is truncated.

    Raises:
        InvalidInputError: It isn't supported, or has too much before its pixels.
    """
    found, position, filler = _Segments(data), 2, _MAX_FILLER
    max_segments = _MAX_SEGMENTS + len(data) // _SEGMENT_BYTES
    for _ in range(max_segments):
        match = _SEGMENT.search(data, position, position + filler + 2)
        if match is None:
            if len(data) - position <= filler + 2:
                return None  # it is truncated
            raise InvalidInputError(
                f"the JPEG image has more than {_MAX_FILLER:,} bytes between its segments; "
                f"{SAVE_AGAIN}"
            )
        filler -= match.start() - position
        kind, body = data[match.end() - 1], match.end()
        if kind == _SCAN:
            return found.header(match.start())
        position = body + int.from_bytes(data[body : body + 2])
        if kind in _PLAIN_TABLES:
            found.kept.append((body - 2, position))
        else:
            found.add(kind, body, position)
    raise InvalidInputError(
        f"the JPEG image has more than {max_segments:,} segments before its pixels; {SAVE_AGAIN}"
    )


class _Segments:
    """What the segments before the first scan of a JPEG declare.

    Args:
        data: The JPEG.

    Attributes:
        kept: Where those are that the decoder reads.
    """

    def __init__(self, data: Encoded) -> None:
        self._data = data
        self._frame: tuple[int, int] | None = None
        self._interval = 0
        self.kept: list[tuple[int, int]] = []
        self._exif: tuple[int, int] | None = None
        self._xmp: tuple[int, int] | None = None

    def add(self, kind: int, body: int, end: int) -> None:
        """Note a segment of a kind, which is located from its length to its end."""
        data = self._data
        if kind in _TABLES or _begins(data, _COLORS.get(kind, b"-"), body + 2):
            self.kept.append((body - 2, end))
        if kind in _FRAMES:
            if kind not in _SUPPORTED_FRAMES or data[body + 2] != 8:
                raise InvalidInputError(_unsupported_frame(kind, data[body + 2]))
            if self._frame is not None:
                raise InvalidInputError("the JPEG image has two frames; save it again")
            self._frame = kind, body
        elif kind == _RESTART_INTERVAL:
            (self._interval,) = struct.unpack_from(">H", data, body + 2)
        elif kind == _APP1:
            if _begins(data, _EXIF, body + 2):
                self._exif = self._exif or (body + 2, end)
            elif _begins(data, _XMP, body + 2):
                self._xmp = body + 2, end

    def header(self, scan_start: int) -> Header | None:
        """Return the header of the JPEG; None without a frame."""
        if self._frame is None:
            return None
        if sum(end - start for start, end in self.kept) > _MAX_TABLE_BYTES:
            raise InvalidInputError(
                f"the JPEG image has more than {_MAX_TABLE_BYTES:,} bytes of tables; save it again"
            )
        data, (kind, body) = self._data, self._frame
        height, width, channels = struct.unpack_from(">HHB", data, body + 3)
        samplings = data[body + 9 : body + 9 + 3 * channels : 3]
        sides = [(sampling >> 4, sampling & 15) for sampling in samplings]
        widest, tallest = max(h for h, _ in sides), max(v for _, v in sides)
        # A file with several scans keeps the coefficients of all of them, two bytes each.
        several = kind == 0xC2 or data[scan_start + 4] < channels
        samples = sum(h * v for h, v in sides) / max(widest * tallest, 1)
        return Header(
            "JPEG",
            width,
            height,
            pixel_bytes=1 if channels == 1 else 4,
            working_bytes=int(2 * samples + 0.5) if several else 0,
            uneven_chroma=any(h * tallest != v * widest for h, v in sides),
            scan_start=scan_start,
            restart_interval=self._interval,
            block=(8, 8) if channels == 1 else (8 * max(widest, 1), 8 * max(tallest, 1)),
            has_one_scan=not several,
            kept=tuple(self.kept),
            exif=self._exif,
            xmp=self._xmp,
        )


def _begins(data: Encoded, prefix: bytes, position: int) -> bool:
    return data[position : position + len(prefix)] == prefix


def _unsupported_frame(kind: int, bits: int) -> str:
    if kind in _SUPPORTED_FRAMES:
        return f"the JPEG image has {bits} bits per channel; save it with 8"
    coding = "arithmetic coding" if kind > 0xC8 else "lossless or hierarchical coding"
    return f"the JPEG image has {coding}, which isn't supported; save it as baseline JPEG"
