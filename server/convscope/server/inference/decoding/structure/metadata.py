"""Reads the orientation of an image from its EXIF or XMP metadata, from a bounded part of it."""

import re
import struct
import zlib

from convscope.server.inference.decoding.header import Encoded

__all__ = ["EXIF_MARK", "MAX_METADATA_BYTES", "exif_orientation", "inflate", "xmp_orientation"]

EXIF_MARK = b"Exif\0\0"
# Only the first bytes of a profile are searched. A JPEG's segment has no more.
MAX_METADATA_BYTES = 65536
_MAX_ENTRIES = 512  # of the first directory; cameras write about 20
_ORIENTATION = 0x0112
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
# The formats of the types of one number: bytes, and unsigned and signed integers.
_TYPES = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def exif_orientation(data: Encoded) -> int | None:
    """Return the orientation in an EXIF profile; None if it has none.

    Damaged metadata doesn't invalidate the image.

    Args:
        data: The profile, with or without its mark.
    """
    profile = bytes(data[:MAX_METADATA_BYTES]).removeprefix(EXIF_MARK).removeprefix(EXIF_MARK)
    order = _ORDERS.get(profile[:4])
    if order is None or len(profile) < 8:
        return None
    (directory,) = struct.unpack_from(f"{order}L", profile, 4)
    if directory + 2 > len(profile):
        return None
    (count,) = struct.unpack_from(f"{order}H", profile, directory)
    entry, found = struct.Struct(f"{order}HHL"), None
    for position in range(directory + 2, directory + 2 + 12 * min(count, _MAX_ENTRIES), 12):
        if position + 12 > len(profile):
            break
        tag, kind, values = entry.unpack_from(profile, position)
        if tag == _ORIENTATION and values == 1 and kind in _TYPES:
            (found,) = struct.unpack_from(order + _TYPES[kind], profile, position + 8)
    return found


def xmp_orientation(data: Encoded) -> int | None:
    """Return the orientation in XMP metadata; None if it has none."""
    match = _XMP_ORIENTATION.search(data, 0, MAX_METADATA_BYTES)
    return int(match[1]) if match else None


def inflate(data: bytes) -> bytes:
    """Return the beginning of compressed metadata; nothing if it is damaged."""
    try:
        return zlib.decompressobj().decompress(data[:MAX_METADATA_BYTES], MAX_METADATA_BYTES)
    except zlib.error:
        return b""
