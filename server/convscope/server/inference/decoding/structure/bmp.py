"""Limits BMPs with run-length encoding, which Pillow decodes step by step in Python."""

import struct

from convscope.server.inference.decoding.header import Encoded, Header
from convscope.server.inference.decoding.structure.stream import Stream, damaged, over_limit

__all__ = ["inspect"]

MAX_RUN_LENGTH_PIXELS = 1_000_000
MAX_RUN_LENGTH_BYTES = 1_000_000
_HEADER_BYTES = (12, 40, 52, 56, 64, 108, 124)
_RUN_LENGTH = (1, 2)  # 8 and 4 bits


def inspect(data: Encoded, header: Header) -> Stream:
    """Check a BMP.

    Raises:
        InvalidInputError: It is damaged or over a limit.
    """
    start, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes not in _HEADER_BYTES or len(data) < 14 + header_bytes:
        raise damaged("BMP", data)
    if header_bytes == 12:
        return Stream(data)
    (compression,) = struct.unpack_from("<I", data, 30)
    if compression not in _RUN_LENGTH:
        return Stream(data)
    if header.pixels > MAX_RUN_LENGTH_PIXELS or len(data) - start > MAX_RUN_LENGTH_BYTES:
        raise over_limit(
            "BMP",
            f"{header.pixels:,} pixels and {len(data):,} bytes with run-length encoding, and at "
            f"most {MAX_RUN_LENGTH_PIXELS:,} and {MAX_RUN_LENGTH_BYTES:,} are allowed",
            "save it as PNG, or without compression",
        )
    return Stream(data)
