"""Slices: what a client has sent, cut into parts whose work is limited.

The same number of bytes may be one chunk of an image or thousands of frames. Only the headers of
the frames tell, so they are looked at before the engine gets them.
"""

from struct import Struct

__all__ = ["Slicer"]

# The work of a slice. A unit is a small frame of data, or 0.5 µs.
SLICE_WORK = 512
# Other frames begin calls, or end them.
FRAME_WORK = 10
# Bytes of header blocks and settings for one unit, as a power of two. The bytes of data take too
# little time to count: 256 KiB take 0.1 ms.
BYTES_PER_UNIT_BITS = 1

PREFACE_BYTES = 24
HEADER_BYTES = 9
# The part of a frame's header that is looked at: its length in three bytes, and its type.
_START_BYTES = 4
_start = Struct(">I").unpack_from
_TYPE = 0xFF
_LENGTH_BITS = 8


class Slicer:
    """Cuts what one client sends. It keeps its place between two reads."""

    __slots__ = ("_next", "_started")

    def __init__(self) -> None:
        self._next = PREFACE_BYTES  # bytes up to the next frame
        self._started = b""  # the beginning of its header, if more has not arrived

    def cut(self, data: memoryview) -> int:
        """Return the size of the next slice; the caller continues with what is behind it.

        Args:
            data: What has arrived and is in no slice yet.
        """
        size, place, work = len(data), self._next, SLICE_WORK
        if self._started:
            place, work = -len(self._started), 0
            start = self._started + data[: _START_BYTES + place]
            if len(start) < _START_BYTES:
                self._started = start
                return size
            self._started = b""
            place += HEADER_BYTES + (_start(start)[0] >> _LENGTH_BITS)
        last = size - _START_BYTES
        while place <= last and work > 0:
            (start,) = _start(data, place)
            length = start >> _LENGTH_BITS
            place += HEADER_BYTES + length
            work -= FRAME_WORK + (length >> BYTES_PER_UNIT_BITS) if start & _TYPE else 1
        if last < place < size:
            self._next, self._started = 0, bytes(data[place:])
            return size
        cut = min(place, size)
        self._next = place - cut
        return cut
