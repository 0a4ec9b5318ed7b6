"""Checks the structure of a JPEG: its segments, its scans and their restart markers."""

import re

import numpy as np

from convscope.server.inference.decoding.header import SAVE_AGAIN, Encoded, Header
from convscope.server.inference.decoding.structure.metadata import (
    exif_orientation,
    xmp_orientation,
)
from convscope.server.inference.decoding.structure.stream import (
    Stream,
    damaged,
    joined,
    over_limit,
)

__all__ = ["inspect"]

# The decoder takes every scan over all blocks of the image, so a small file with thousands
# of scans would cost minutes. The second limit is the sum over the scans of their pixels.
MAX_SCANS = 64
MAX_SCAN_PIXELS = 400_000_000
MAX_SEGMENTS = 4096  # from the first scan to the end
# The decoder begins a block again while the bytes that it has read end with fill bytes, so that
# 16 MB of them would take a second. Encoders write none, or one before a marker. That one is not
# counted.
MAX_FILL_BYTES = 4096
# What ends the entropy-coded data of a scan: no stuffed byte, fill byte or restart marker.
_END_OF_DATA = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
# The expression is faster for what is near, but keeps the interpreter's lock, which other calls
# need: with 16 MB of stuffed bytes for a quarter of a second.
_NEAR_BYTES = 2**14
_SCAN, _END = 0xDA, 0xD9
_END_MARKER = b"\xff\xd9"
# Tables, a comment, application data: what may be between two scans.
_BETWEEN_SCANS = frozenset({0xC4, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_BLOCK = 2**20  # bytes of the coded data that are searched at once


def inspect(data: Encoded, header: Header) -> Stream:
    """Check a JPEG; return it without metadata.

    Raises:
        InvalidInputError: It is damaged, truncated or over a limit.
    """
    end = _check_scans(data, header)
    ranges = [(0, 2), *header.kept, (header.scan_start, end)]
    return Stream(joined(data, ranges), _orientation(data, header))


def _orientation(data: Encoded, header: Header) -> int:
    found = None
    if header.exif is not None:
        found = exif_orientation(data[slice(*header.exif)])
    if found is None and header.xmp is not None:
        found = xmp_orientation(data[slice(*header.xmp)])
    return found or 1


def _check_scans(data: Encoded, header: Header) -> int:
    """Follow the scans, from the first one to the end marker; return where the file ends."""
    position, scans, kind = header.scan_start, 0, 0
    for _ in range(MAX_SEGMENTS):
        end = _end_of_data(data, position)
        is_only_scan = scans == 1 and header.has_one_scan
        if kind == _SCAN and is_only_scan and header.restart_interval:
            _check_restarts(data, header, position, end)
        if kind in _BETWEEN_SCANS and bytes(data[position:end]).strip(b"\xff\0"):
            raise damaged("JPEG", data)  # coded data goes on behind a table or comment
        kind, body = data[end + 1], end + 2
        if kind == _END:
            _check_rest(data, body)
            return body
        position = body + int.from_bytes(data[body : body + 2])
        if kind == _SCAN:
            scans += 1
            _check_count(scans, header)
            if scans == 1 and header.has_one_scan and _reaches_the_end(data, position):
                return len(data)
        elif kind not in _BETWEEN_SCANS:
            raise damaged("JPEG", data)
    raise over_limit("JPEG", f"more than {MAX_SEGMENTS:,} segments", "save it as baseline JPEG")


def _end_of_data(data: Encoded, start: int) -> int:
    """Return where the next marker is that ends the coded data of a scan."""
    near = start + _NEAR_BYTES
    if match := _END_OF_DATA.search(data, start, near):
        return match.start()
    first, size, fill_bytes = near - 1, _NEAR_BYTES, 0
    while first < len(data) - 1:
        part = np.frombuffer(data, np.uint8, min(size + 1, len(data) - first), first)
        codes = part[1:]
        ends = (part[:-1] == 0xFF) & (codes != 0) & (codes != 0xFF) & (codes & 0xF8 != 0xD0)
        found = int(ends.argmax()) if ends.any() else None
        is_fill = ((part[:-1] == 0xFF) & (codes == 0xFF))[:found]
        fill_bytes += int(np.count_nonzero(is_fill[:-1] & is_fill[1:]))
        if fill_bytes > MAX_FILL_BYTES:
            raise over_limit(
                "JPEG", f"more than {MAX_FILL_BYTES:,} fill bytes in a scan", SAVE_AGAIN
            )
        if found is not None:
            return first + found
        first += size
        size = min(2 * size, _BLOCK)  # so that thousands of segments take no longer than one
    raise damaged("JPEG", data, "truncated")


def _check_count(scans: int, header: Header) -> None:
    if scans > MAX_SCANS:
        raise over_limit("JPEG", f"more than {MAX_SCANS} scans", "save it as baseline JPEG")
    if scans * header.pixels > MAX_SCAN_PIXELS and not header.has_one_scan:
        raise over_limit(
            "JPEG",
            f"{scans} or more scans of {header.pixels:,} pixels, and at most "
            f"{MAX_SCAN_PIXELS:,} in all scans are allowed",
            "save it as baseline JPEG, or scale it down",
        )


def _reaches_the_end(data: Encoded, start: int) -> bool:
    """Return whether a scan without restart markers ends where the file ends.

    It takes a third of the time of the search for a marker, which every stuffed byte interrupts.
    """
    size = len(data) - len(_END_MARKER) - start
    if size <= 0 or data[-len(_END_MARKER) :] != _END_MARKER:
        return False
    coded = np.frombuffer(data, np.uint8, size, start)
    return not any(
        ((part[:-1] == 0xFF) & (part[1:] != 0)).any()
        for part in (coded[first : first + _BLOCK + 1] for first in range(0, size, _BLOCK))
    )


def _check_restarts(data: Encoded, header: Header, start: int, end: int) -> None:
    """Check the restart markers of an only scan."""
    width, height = header.block
    blocks = -(-header.width // width) * -(-header.height // height)
    expected = -(-blocks // header.restart_interval) - 1
    coded = np.frombuffer(data, np.uint8, end - start, start)
    found = 0
    for first in range(0, end - start, _BLOCK):
        part = coded[first : first + _BLOCK + 1]
        numbers = part[1:][(part[:-1] == 0xFF) & (part[1:] & 0xF8 == 0xD0)] & 7
        if (numbers != np.arange(found, found + len(numbers)) % 8).any():
            raise damaged("JPEG", data)
        found += len(numbers)
    if found < expected:
        raise damaged("JPEG", data)


def _check_rest(data: Encoded, position: int) -> None:
    """Check that what follows the end marker isn't the rest of the image.

    Cameras append further images and videos. The rest of an image is recognized by an
    end marker of its own, without a start marker.
    """
    rest = bytes(data[position:]).rstrip(b"\0")
    if len(rest) > 2 and rest.endswith(_END_MARKER) and b"\xff\xd8" not in rest:
        raise damaged("JPEG", data)
