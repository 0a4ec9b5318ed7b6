"""Reduces a GIF to its first frame."""

from convscope.server.inference.decoding.header import Encoded, Header
from convscope.server.inference.decoding.structure.stream import Stream, joined

__all__ = ["inspect"]


def inspect(data: Encoded, header: Header) -> Stream:
    """Return a GIF without its comments and other extensions.

    The header's reader has limited them. The decoder stops at the end of the first frame.
    """
    return Stream(joined(data, [*header.kept, (header.scan_start, len(data))]))
