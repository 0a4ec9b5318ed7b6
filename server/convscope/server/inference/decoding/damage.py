"""Finds damage that Pillow doesn't report, in the structure of an encoded image.

What can be found depends on the format:

- **Truncation** is found in every format. Pillow finds it in the pixels; here, a PNG must
  reach its last chunk, a JPEG its end marker, and a WebP the length that it declares.
- **PNG**: every chunk has a checksum. Pillow doesn't verify those of the pixels and of
  what follows them. All are verified here, so any damage is found.
- **JPEG** has no checksum. A changed byte of a scan usually changes coefficients, which
  nothing shows. Damage that breaks the structure is found: a marker that can't follow a
  scan, coded data outside a scan, missing or unordered restart markers, an end marker
  before the rest of the image.
- **WebP, GIF, BMP** have no checksum either. Their decoders reject data that yields too
  few pixels, or codes that don't exist. Other changed bytes are other pixels.
"""

import re
import struct
import zlib

import numpy as np

from convscope.server.errors import InvalidInputError
from convscope.server.inference.decoding.headers import Header

__all__ = ["check_structure", "damaged"]

# libjpeg decodes every scan of a progressive file over the whole image, so a small
# file with thousands of scans costs minutes.
MAX_JPEG_SCANS = 64
MAX_JPEG_SEGMENTS = 4096
# What ends the entropy-coded data of a scan: no stuffed byte, fill byte or restart marker.
_END_OF_DATA = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTARTS = re.compile(rb"\xff([\xd0-\xd7])")
_RESTART_CYCLE = bytes(range(0xD0, 0xD8))
_SCAN, _END = 0xDA, 0xD9
_END_MARKER = b"\xff\xd9"
# Tables, a comment, application data: what may be between two scans.
_BETWEEN_SCANS = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})


def check_structure(data: bytes, header: Header) -> None:
    """Reject an encoded image whose structure shows that it isn't whole.

    Raises:
        InvalidInputError: It is damaged or truncated.
    """
    if header.format == "PNG":
        _check_png(data)
    elif header.format == "JPEG":
        _check_jpeg(data, header)
    elif header.format == "WEBP":
        (size,) = struct.unpack_from("<I", data, 4)
        if size + 8 > len(data):
            raise damaged("WEBP", data, "truncated")


def damaged(format: str, data: bytes, damage: str = "damaged") -> InvalidInputError:
    """Return the error for an image that is damaged or truncated."""
    return InvalidInputError(
        f"the {format} image of {len(data):,} bytes is {damage}; send a whole file"
    )


def _check_png(data: bytes) -> None:
    """Verify the checksum of every chunk, up to the last one."""
    view, position, kind = memoryview(data), 8, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise damaged("PNG", data, "truncated")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise damaged("PNG", data, "truncated")
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[position + 4 : end]) != checksum:
            raise damaged("PNG", data)
        position = end + 4


def _check_jpeg(data: bytes, header: Header) -> None:
    """Follow the scans of a JPEG, from the first one to the end marker."""
    position, scans, kind = header.scan_start, 0, 0
    for _ in range(MAX_JPEG_SEGMENTS):
        match = _END_OF_DATA.search(data, position)
        if match is None:
            raise damaged("JPEG", data, "truncated")
        if kind == _SCAN and header.has_one_scan and header.restart_interval:
            _check_restarts(data, header, position, match.start())
        if kind in _BETWEEN_SCANS and data[position : match.start()].strip(b"\xff\0"):
            raise damaged("JPEG", data)  # coded data goes on behind a table or comment
        kind, body = data[match.end() - 1], match.end()
        if kind == _END:
            return _check_rest(data, body)
        position = body + int.from_bytes(data[body : body + 2])
        if kind == _SCAN:
            scans += 1
            if header.has_one_scan and _reaches_the_end(data, position):
                return None
        elif kind not in _BETWEEN_SCANS:
            raise damaged("JPEG", data)
        if scans > MAX_JPEG_SCANS:
            raise InvalidInputError(
                f"the JPEG image has more than {MAX_JPEG_SCANS} scans; save it as baseline JPEG"
            )
    raise damaged("JPEG", data)


def _reaches_the_end(data: bytes, start: int) -> bool:
    """Return whether a scan without restart markers ends where the file ends.

    It takes a third of the time of the search for a marker, which every stuffed byte interrupts.
    """
    size = len(data) - len(_END_MARKER) - start
    if size <= 0 or not data.endswith(_END_MARKER):
        return False
    coded = np.frombuffer(data, np.uint8, size, start)
    return not ((coded[:-1] == 0xFF) & (coded[1:] != 0)).any()


def _check_restarts(data: bytes, header: Header, start: int, end: int) -> None:
    """Check the restart markers of an only scan."""
    width, height = header.block
    blocks = -(-header.width // width) * -(-header.height // height)
    expected = -(-blocks // header.restart_interval) - 1
    found = b"".join(_RESTARTS.findall(data, start, end))
    cycle = (_RESTART_CYCLE * (len(found) // 8 + 1))[: len(found)]
    if len(found) < expected or found != cycle:
        raise damaged("JPEG", data)


def _check_rest(data: bytes, position: int) -> None:
    """Check that what follows the end marker isn't the rest of the image.

    Cameras append further images and videos. The rest of an image is recognized by an
    end marker of its own, without a start marker.
    """
    rest = data[position:].rstrip(b"\0")
    if len(rest) > 2 and rest.endswith(_END_MARKER) and b"\xff\xd8" not in rest:
        raise damaged("JPEG", data)
