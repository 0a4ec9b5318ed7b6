"""The end of a JPEG's coded data, wherever it is."""

import pytest
from support.images import encode, picture

from convscope.server.inference.decoding.headers import read_header
from convscope.server.inference.decoding.structure import inspect

END = b"\xff\xd9"
# The search changes its method after so many bytes, and takes as many at once then.
NEAR, BLOCK = 2**14, 2**20


@pytest.mark.parametrize("behind", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("place", [NEAR, NEAR + BLOCK])
def test_what_follows_the_end_marker_is_left_out(place: int, behind: int) -> None:
    """Stuffed bytes, fill bytes and restart markers are data, also at the ends of a part."""
    whole = encode(picture(), "JPEG", quality=90)
    header = read_header(whole)
    assert header is not None
    start = whole.index(b"\xff\xda")  # the search begins behind the header of the scan
    body = start + 2 + int.from_bytes(whole[start + 2 : start + 4])
    missing = place + behind - (len(whole) - len(END) - body)
    data = whole[: -len(END)] + (b"\xff\x00\xff\xff\xd3" * missing)[:missing].rstrip(b"\xff")
    data += b"\0" * (body + place + behind - len(data)) + END
    found = inspect(data + b"a tail", header).data
    assert bytes(found) == data


@pytest.mark.parametrize("tail", [b"\xff" * 100_000, b"\xff\xd8" + b"\xff" * 100_000 + END])
def test_fill_bytes_behind_the_end_are_no_part_of_the_scan(tail: bytes) -> None:
    """Cameras append further images and padding."""
    whole = encode(picture(), "JPEG", quality=90)
    header = read_header(whole)
    assert header is not None
    padded = whole[: -len(END)] + b"\xff\x00" * NEAR + END
    assert bytes(inspect(padded + tail, header).data) == padded
