"""Damaged files are rejected, as far as their format shows the damage."""

import io
import random
import re
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image
from support.damage import chunk, cuts, idat_of, kinds_of_images, textured
from support.images import encode, picture

from convscope.server.errors import InvalidInputError
from convscope.server.inference.decoding.preprocessor import ImageLimits, Preprocessor
from convscope.v1 import manifest_pb2 as pb

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SHORTEST = pb.Resize(rule=pb.RESIZE_RULE_SHORTEST_EDGE, shortest_edge=72)
RULE = pb.Preprocessing(
    resize=SHORTEST, color_mode=pb.COLOR_MODE_RGB, interpolation=pb.INTERPOLATION_BILINEAR
)
PREPROCESSOR = Preprocessor(RULE, 64, 64, ImageLimits(1_000_000, 2000))
KINDS = kinds_of_images()
ORIENTATION_6 = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def decode(data: bytes) -> NDArray[np.uint8] | None:
    """Decode an image; return None if it is rejected."""
    try:
        return PREPROCESSOR.decode(data)
    except InvalidInputError:
        return None


def rejection(data: bytes) -> str:
    with pytest.raises(InvalidInputError) as caught:
        PREPROCESSOR.decode(data)
    return caught.value.message


# Every format


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_file_is_rejected_or_gives_the_pixels_of_the_whole_file(kind: str) -> None:
    whole = PREPROCESSOR.decode(KINDS[kind])
    found = [decode(data) for data in cuts(KINDS[kind], 60)]
    assert all(pixels is None or np.array_equal(pixels, whole) for pixels in found)
    assert sum(pixels is None for pixels in found) > 60


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "PNG" in kind])
def test_any_damage_to_a_png_is_rejected(kind: str) -> None:
    data, rng = KINDS[kind], random.Random(7)
    places = {*range(0, 60), *(rng.randrange(len(data)) for _ in range(200)), len(data) - 1}
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= rng.randrange(1, 256)
        assert decode(bytes(damaged)) is None, place


@pytest.mark.parametrize("kind", KINDS)
def test_lost_sectors_are_rejected_or_decoded(kind: str) -> None:
    """Formats without checksums can't show all damage; no other error occurs."""
    data, rng = KINDS[kind], random.Random(7)
    for _ in range(40):
        start, size = rng.randrange(len(data)), rng.choice([16, 512])
        lost = rng.choice([b"\0" * size, b"\xff" * size, rng.randbytes(size)])
        pixels = decode(data[:start] + lost[: len(data) - start] + data[start + size :])
        assert pixels is None or pixels.shape == (64, 64, 3)


# PNG


def test_png_with_damaged_pixels_is_not_answered_half_black() -> None:
    """Pillow loads a PNG to find its orientation, and then returns what it had decoded."""
    data = bytearray(encode(textured(400, 300)))
    start, end = idat_of(bytes(data))
    middle = (start + end) // 2
    data[middle : middle + 40] = b"\xff" * 40
    repaired = data[: start - 4] + chunk(b"IDAT", bytes(data[start:end]))[4:] + data[end + 4 :]
    for damaged in (bytes(data), bytes(repaired)):  # also with a matching checksum
        message = rejection(damaged)
        assert message == f"the PNG image of {len(data):,} bytes is damaged; use a whole file"


def test_png_without_its_end_is_truncated() -> None:
    data = encode(picture())
    assert rejection(data[:-12]) == (
        f"the PNG image of {len(data) - 12:,} bytes is truncated; use a whole file"
    )


def test_damaged_orientation_behind_the_pixels_does_not_turn_the_image() -> None:
    data = encode(picture())
    exif = chunk(b"eXIf", ORIENTATION_6[6:])
    turned = data[:-12] + exif + data[-12:]
    assert Image.open(io.BytesIO(turned)).getexif()[ExifTags.Base.Orientation] == 6
    assert not np.array_equal(PREPROCESSOR.decode(turned), PREPROCESSOR.decode(data))
    assert "damaged" in rejection(data[:-12] + exif.replace(b"\0\x06", b"\0\x03") + data[-12:])


def test_bytes_after_the_end_are_ignored() -> None:
    for kind in ("PNG", "GIF", "BMP", "WebP"):
        whole = PREPROCESSOR.decode(KINDS[kind])
        assert np.array_equal(PREPROCESSOR.decode(KINDS[kind] + b"trailer" * 20), whole)


# JPEG


def coded(data: bytes) -> tuple[int, int]:
    """Return where the coded data of the first scan begins and ends."""
    scan = data.index(b"\xff\xda")
    (length,) = struct.unpack_from(">H", data, scan + 2)
    return scan + 2 + length, len(data) - 2


def with_inserted(data: bytes, inserted: bytes) -> bytes:
    """Overwrite bytes in the middle of the coded data."""
    start, end = coded(data)
    middle = (start + end) // 2
    return data[:middle] + inserted + data[middle + len(inserted) :]


@pytest.mark.parametrize(
    "marker",
    [b"\xff\xd9", b"\xff\xd8", b"\xff\xe1\0\x10", b"\xff\xfe\0\x04", b"\xff\xc0", b"\xff\x02"],
    ids=["end", "start", "application", "comment", "frame", "reserved"],
)
def test_jpeg_with_a_marker_in_its_pixels(marker: bytes) -> None:
    """Pillow fills the rest of the image with gray."""
    for kind in ("JPEG", "JPEG gray", "JPEG turned"):
        assert "the JPEG image" in rejection(with_inserted(KINDS[kind], marker))


@pytest.mark.parametrize("change", ["lost", "swapped", "height"])
def test_jpeg_with_restart_markers_shows_lost_parts(change: str) -> None:
    data = KINDS["JPEG with restarts"]
    start, end = coded(data)
    markers = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", data[start:end])]
    first, second = start + markers[0], start + markers[1]
    changed = bytearray(data)
    if change == "lost":
        del changed[first:second]
    elif change == "swapped":
        changed[first + 1], changed[second + 1] = changed[second + 1], changed[first + 1]
    else:
        frame = data.index(b"\xff\xc0")
        struct.pack_into(">H", changed, frame + 5, 160)
    assert "the JPEG image" in rejection(bytes(changed))


@pytest.mark.parametrize(
    "appended",
    [
        encode(picture(40, 30), "JPEG"),
        b"\0\0\0\x18ftypmp42" + random.Random(1).randbytes(5000) + b"\0",
        b"\0" * 600,
        b"\xff\xd9",
    ],
    ids=["image", "video", "padding", "second end"],
)
@pytest.mark.parametrize("kind", ["JPEG", "JPEG progressive", "JPEG with restarts"])
def test_what_cameras_append_to_a_jpeg_is_ignored(kind: str, appended: bytes) -> None:
    whole = PREPROCESSOR.decode(KINDS[kind])
    assert np.array_equal(PREPROCESSOR.decode(KINDS[kind] + appended), whole)


def test_fill_bytes_before_a_marker_are_no_damage() -> None:
    data = KINDS["JPEG"]
    filled = data[:-2] + b"\xff\xff" + data[-2:]
    assert np.array_equal(PREPROCESSOR.decode(filled), PREPROCESSOR.decode(data))


# Other formats


def test_gif_whose_pixels_end_early_is_rejected() -> None:
    data = KINDS["GIF"]
    assert "GIF image" in rejection(data[: len(data) // 2] + b"\0;")


def test_run_length_encoded_bmp() -> None:
    data = KINDS["BMP RLE"]
    assert np.array_equal(PREPROCESSOR.decode(data), PREPROCESSOR.decode(KINDS["BMP palette"]))
    assert "BMP image" in rejection(data[: len(data) // 2 // 2 * 2] + b"\0\1")


def test_damaged_alpha_of_a_webp_is_no_lack_of_memory() -> None:
    """For some of these, libwebp reports that it has no memory."""
    data = KINDS["WebP RGBA"]
    start = data.index(b"ALPH") + 8
    decoded = [
        decode(data[:position] + b"\xff\xff" + data[position + 2 :])
        for position in range(start, start + 40)
    ]
    assert any(image is None for image in decoded)


def test_webp_shorter_than_it_declares_is_truncated() -> None:
    data = KINDS["WebP"]
    assert rejection(data[:-10]) == (
        f"the WEBP image of {len(data) - 10:,} bytes is truncated; use a whole file"
    )
