"""Checks the structure of a PNG: its chunks, their checksums and their number."""

import struct
import zlib

from convscope.server.inference.decoding.header import Encoded, Header
from convscope.server.inference.decoding.structure.metadata import (
    exif_orientation,
    inflate,
    xmp_orientation,
)
from convscope.server.inference.decoding.structure.stream import (
    Range,
    Stream,
    damaged,
    joined,
    over_limit,
)

__all__ = ["inspect"]

# So many chunks, and one more for so many bytes. Programs write 4 KiB or more in each.
MAX_CHUNKS, CHUNK_BYTES = 4096, 1024
# Compressed pixels have at most 9/8 of the bytes of the pixels, and the codes of a block.
_SLACK_BYTES = 65536
# The chunks from which pixels are decoded; only the pixels may have several.
_PIXELS = b"IDAT"
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", _PIXELS, b"IEND"})
_MAX_PALETTE_BYTES = 768
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
_XMP_KEY, _PROFILE_KEY = b"XML:com.adobe.xmp", b"Raw profile type exif"


class _Metadata:
    """The chunks that may have the orientation: the last of each kind."""

    def __init__(self) -> None:
        self.exif: bytes | None = None
        self.profile: bytes | None = None
        self.xmp: bytes | None = None

    def read(self, kind: bytes, body: memoryview) -> None:
        """Keep the beginning of a chunk if it can have the orientation."""
        if kind == b"eXIf":
            self.exif = bytes(body[:65536])
        elif kind == b"iTXt" and body[: len(_XMP_KEY) + 1] == _XMP_KEY + b"\0":
            self.xmp = bytes(body[:131072])
        elif kind in (b"tEXt", b"zTXt") and body[: len(_PROFILE_KEY) + 1] == _PROFILE_KEY + b"\0":
            text = bytes(body[len(_PROFILE_KEY) + 1 : 131072])
            self.profile = inflate(text[1:]) if kind == b"zTXt" else text

    def orientation(self) -> int:
        """Return the orientation, 1 if it has none."""
        found = None
        if self.exif is not None:
            found = exif_orientation(self.exif)
        elif self.profile is not None:
            found = exif_orientation(_profile(self.profile))
        if found is None and self.xmp is not None:
            found = xmp_orientation(_xmp(self.xmp))
        return found or 1


def inspect(data: Encoded, header: Header) -> Stream:
    """Check a PNG; return it without metadata and further frames.

    Raises:
        InvalidInputError: It is damaged, truncated or over a limit.
    """
    view, position, kind = memoryview(data), 8, b""
    kept: list[Range] = [(0, 8)]
    metadata, seen, pixel_bytes = _Metadata(), set[bytes](), 0
    max_chunks = MAX_CHUNKS + len(data) // CHUNK_BYTES
    max_pixel_bytes = _max_pixel_bytes(data, header)
    for _ in range(max_chunks):
        if position + 12 > len(data):
            raise damaged("PNG", data, "truncated")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise damaged("PNG", data, "truncated")
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[position + 4 : end]) != checksum:
            raise damaged("PNG", data)
        if kind == _PIXELS:
            pixel_bytes += length
            kept.append((position, end + 4))
        elif kind in _KEPT:
            if kind in seen or length > _MAX_PALETTE_BYTES:
                raise damaged("PNG", data)
            seen.add(kind)
            kept.append((position, end + 4))
        else:
            metadata.read(kind, view[position + 8 : end])
        position = end + 4
        if kind == b"IEND":
            break
    else:
        raise over_limit("PNG", f"more than {max_chunks:,} chunks", "save it again")
    if pixel_bytes > max_pixel_bytes:
        raise over_limit(
            "PNG",
            f"{pixel_bytes:,} bytes of compressed pixels, and at most {max_pixel_bytes:,} can "
            f"be needed for {header.width:,} x {header.height:,} pixels",
            "save it again",
        )
    return Stream(joined(data, kept), metadata.orientation())


def _max_pixel_bytes(data: Encoded, header: Header) -> int:
    """Return how many bytes the compressed pixels can have."""
    depth, color, _, _, interlaced = data[24:29]
    row = -(-header.width * depth * _CHANNELS.get(color, 4) // 8) + 1
    # An interlaced image has up to 15/8 as many rows, each rounded up to a byte.
    rows = header.height * (row + (row + 15) // 8 if interlaced else row)
    return rows * 9 // 8 + _SLACK_BYTES


def _profile(text: bytes) -> bytes:
    """Return the EXIF profile that ImageMagick writes as hexadecimal text after three lines."""
    digits = b"".join(text[:131072].split(b"\n", 3)[3:]).decode("latin-1")
    digits = "".join(digits.split())
    try:
        return bytes.fromhex(digits[: len(digits) // 2 * 2])
    except ValueError:
        return b""


def _xmp(body: bytes) -> bytes:
    """Return the text of an iTXt chunk."""
    _, _, rest = body.partition(b"\0")
    is_compressed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
    if len(text) < 3:
        return b""
    return inflate(text[2]) if is_compressed else text[2]
