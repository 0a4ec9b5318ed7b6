"""How what a client has sent is cut before the engine gets it."""

import random

import pytest
from support.frames import DATA, END_STREAM, HEADERS, frame

from convscope.server.frontend.transport.http2.slices import (
    FRAME_WORK,
    PREFACE_BYTES,
    SLICE_WORK,
    Slicer,
)

PREFACE = bytes(PREFACE_BYTES)


def _cut(sent: bytes, sizes: list[int]) -> list[bytes]:
    """Return the slices of what arrives in parts of these sizes, and then the rest."""
    slicer, slices, start = Slicer(), [], 0
    for size in [*sizes, len(sent)]:
        data = memoryview(sent[start : start + size])
        start += size
        while data:
            taken = slicer.cut(data)
            assert 0 < taken <= len(data)
            slices.append(bytes(data[:taken]))
            data = data[taken:]
    assert b"".join(slices) == sent
    return slices


@pytest.mark.parametrize(
    ("frames", "most"),
    [
        (frame(DATA, 0, 1, b"x"), SLICE_WORK),
        (frame(HEADERS, END_STREAM, 1, b"x"), SLICE_WORK // FRAME_WORK + 1),
        (frame(HEADERS, END_STREAM, 1, bytes(1000)), 2),
        (frame(DATA, 0, 1, bytes(16384)), SLICE_WORK),
    ],
    ids=["data of one byte", "small calls", "long headers", "large data"],
)
def test_a_slice_has_few_frames_whatever_came_before(frames: bytes, most: int) -> None:
    upload = frame(DATA, 0, 1, bytes(16384)) * 12
    slices = _cut(PREFACE + upload + frames * 1000, [])
    assert max(map(len, slices[1:-1]), default=0) <= most * len(frames)
    assert len(slices[0]) <= len(PREFACE + upload) + most * len(frames)


def test_an_upload_of_large_frames_is_one_slice() -> None:
    upload = frame(HEADERS, 0, 1, bytes(100)) + frame(DATA, 0, 1, bytes(16384)) * 15
    assert _cut(PREFACE + upload, []) == [PREFACE + upload]


def test_the_place_is_kept_however_the_bytes_arrive() -> None:
    """Also if a read ends within a frame, within its header, or within the preface."""
    choice = random.Random(5)
    sent, ends = PREFACE, set()
    for _ in range(600):
        kind = choice.choice([DATA, HEADERS])
        sent += frame(kind, 0, 1, bytes(choice.choice([0, 1, 5, 300])))
        ends.add(len(sent))
    for longest in (1, 3, 11, 400):
        sizes = [choice.randint(1, longest) for _ in range(6000 // longest)]
        place, rest = 0, sum(sizes)  # what is cut after that has arrived in one piece
        places = []
        for each in _cut(sent, sizes):
            place += len(each)
            places.append(place)
        later = [place for place in places if place > rest]
        assert len(later) > 10
        assert ends.issuperset(later)
