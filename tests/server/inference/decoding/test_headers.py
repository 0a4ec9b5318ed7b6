"""The size and the cost of an encoded image, without decoding it."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format
from PIL import Image
from support.damage import kinds_of_images
from support.images import encode, grey16, picture, png_bomb, with_orientation

from convscope.server.errors import InvalidInputError
from convscope.server.inference.decoding import preprocessor
from convscope.server.inference.decoding.header import Header
from convscope.server.inference.decoding.headers import read_header
from convscope.server.inference.decoding.preprocessor import ImageLimits, Preprocessor
from convscope.v1 import manifest_pb2 as pb

MIB = 2**20
RULE = pb.Preprocessing(
    resize=pb.Resize(rule=pb.RESIZE_RULE_SHORTEST_EDGE, shortest_edge=256),
    color_mode=pb.COLOR_MODE_RGB,
    interpolation=pb.INTERPOLATION_BILINEAR,
)
LIMITS = ImageLimits(max_pixels=60_000_000, max_side=9000)
KINDS = kinds_of_images()
PREPROCESSOR = Preprocessor(RULE, 224, 224, LIMITS)
SMALL_JPEG = encode(picture(8, 8), "JPEG")


def header(data: bytes) -> Header:
    found = read_header(data)
    assert found is not None
    return found


# Sizes


@pytest.mark.parametrize("kind", KINDS)
def test_header_has_the_size_that_pillow_decodes(kind: str) -> None:
    image = Image.open(io.BytesIO(KINDS[kind]))
    found = header(KINDS[kind])
    assert (found.width, found.height) == image.size
    assert found.format == image.format
    assert PREPROCESSOR.cost(KINDS[kind]).pixels == image.width * image.height


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (8193, 2), (640, 481)])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
def test_sizes(size: tuple[int, int], format: str) -> None:
    found = header(encode(picture(*size), format))
    assert (found.width, found.height) == size


def test_bmp_with_rows_from_top_to_bottom() -> None:
    data = bytearray(encode(picture(40, 30), "BMP"))
    struct.pack_into("<i", data, 22, -30)
    assert (header(bytes(data)).width, header(bytes(data)).height) == (40, 30)
    assert Image.open(io.BytesIO(data)).size == (40, 30)


def test_jpeg_with_a_large_profile_and_thumbnail() -> None:
    """The size is the image's, not that of a JPEG in its metadata."""
    thumbnail = encode(picture(16, 12), "JPEG")
    data = encode(picture(300, 200), "JPEG", icc_profile=bytes(300_000), comment=thumbnail)
    assert (header(data).width, header(data).height) == (300, 200)


def test_gif_whose_first_frame_exceeds_its_canvas() -> None:
    data = bytearray(encode(picture(400, 300).quantize(8), "GIF"))
    struct.pack_into("<HH", data, 6, 1, 1)
    found = header(bytes(data))
    assert (found.width, found.height) == Image.open(io.BytesIO(data)).size == (400, 300)


def test_gif_with_comments_that_look_like_frames() -> None:
    data = encode(picture(40, 30).quantize(8), "GIF", comment=b"," * 700)
    assert (header(data).width, header(data).height) == (40, 30)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_header_is_none_or_has_the_same_size(kind: str) -> None:
    whole = header(KINDS[kind])
    for length in range(min(len(KINDS[kind]), 1500)):
        found = read_header(KINDS[kind][:length])
        assert found is None or (found.width, found.height) == (whole.width, whole.height)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff\xfe\0\2" * 1_000_000,
        SMALL_JPEG[:2] + b"\xff\xfe\0\2" * 100 + SMALL_JPEG[2:],
        b"\xff\xd8\xff\xe0" + b"\xff" * 1_000_000,
        b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe" + b"\1a" * 1_000_000,
        b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe" + b"\1a" * 300 + b"\0,\0\0\0\0\1\0\1\0\0",
        b"GIF89a\1\0\1\0\0\0\0" + b"x" * 1_000_000,
        b"RIFF\0\0\0\0WEBPJUNK" + bytes(100),
        b"BM",
    ],
    ids=[
        *("segments", "segments of a small image", "fill bytes", "blocks"),
        *("blocks of a small image", "junk", "other chunk", "two bytes"),
    ],
)
def test_crafted_headers_are_rejected(data: bytes) -> None:
    """The number of steps is limited, so that the event loop can read headers."""
    with pytest.raises(InvalidInputError, match=r"are not an image|before its|between its"):
        PREPROCESSOR.cost(data)


def test_jpeg_with_bytes_that_belong_to_no_segment() -> None:
    """Decoders skip them, so a few are accepted; many would hold up the event loop."""
    data = encode(picture(30, 20), "JPEG")
    some, many = (data[:20] + b"\0\xff" * count + data[20:] for count in (100, 3000))
    assert Image.open(io.BytesIO(some)).size == Image.open(io.BytesIO(many)).size == (30, 20)
    assert (header(some).width, header(some).height) == (30, 20)
    with pytest.raises(InvalidInputError, match="more than 4,096 bytes between its segments"):
        read_header(many)


def webp_bomb() -> bytes:
    """Declare a canvas of 16,383 x 16,383, for which libwebp takes 2 GiB as it opens it."""
    data = bytearray(KINDS["WebP RGBA"])
    assert data[12:16] == b"VP8X"
    data[24:30] = (16_382).to_bytes(3, "little") * 2
    return bytes(data)


@pytest.mark.parametrize("data", [png_bomb(), webp_bomb()], ids=["PNG", "WebP"])
def test_cost_of_a_bomb_is_its_rejection(data: bytes) -> None:
    for ask in (PREPROCESSOR.cost, PREPROCESSOR.decode):
        with pytest.raises(InvalidInputError, match="at most 60,000,000 pixels"):
            ask(data)


def test_cost_of_text_is_its_rejection() -> None:
    for data in (b"", b"hello"):
        with pytest.raises(InvalidInputError) as by_cost:
            PREPROCESSOR.cost(data)
        with pytest.raises(InvalidInputError) as by_decode:
            PREPROCESSOR.decode(data)
        assert by_cost.value.message == by_decode.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_with_a_known_cost_does_not_read_the_header_again(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = KINDS[kind]
    expected, cost = PREPROCESSOR.decode(data), PREPROCESSOR.cost(data)
    monkeypatch.setattr(preprocessor, "read_header", lambda data: None)
    assert np.array_equal(PREPROCESSOR.decode(data, cost), expected)


# Memory


def large_images() -> dict[str, bytes]:
    width, height = 6000, 2500
    x = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    y = np.tile(np.linspace(0, 255, height).astype(np.uint8)[:, np.newaxis], (1, width))
    rgba = Image.fromarray(np.stack([x, y, x ^ y, x], axis=2))
    rgb = rgba.convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "RGBA": encode(rgba, compress_level=1),
        "16 bits": grey16(x.astype(np.uint16) * 257),
        "turned": encode(rgb, exif=turned, compress_level=1),
        "JPEG progressive": encode(rgb, "JPEG", progressive=True),
        "WebP": encode(rgb.crop((0, 0, 2000, 1000)), "WEBP", method=0),
    }


MEASURE = """
import re, sys
from pathlib import Path
from google.protobuf import json_format
from convscope.server.inference.decoding.preprocessor import ImageLimits, Preprocessor
from convscope.v1 import manifest_pb2 as pb

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

rule = json_format.Parse(sys.argv[1], pb.Preprocessing())
prepare = Preprocessor(rule, 224, 224, ImageLimits(60_000_000, 9000))
prepare.decode(Path(sys.argv[2]).read_bytes())  # a small one, for what is loaded on first use
data = Path(sys.argv[3]).read_bytes()
before = peak()
prepare.decode(data)
print(peak() - before, prepare.cost(data).memory_bytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_of_large_images_is_what_the_cost_states(tmp_path: Path) -> None:
    """Images of 15 megapixels; whole copies of them would take 60 MB each."""
    small = tmp_path / "small"
    small.write_bytes(encode(picture()))
    for kind, data in large_images().items():
        file = tmp_path / "image"
        file.write_bytes(data)
        command = [
            sys.executable,
            "-c",
            MEASURE,
            json_format.MessageToJson(RULE),
            str(small),
            str(file),
        ]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        used, stated = (int(number) for number in output.split())
        assert used <= stated * 1.1 + 8 * MIB, (kind, used / MIB, stated / MIB)
        assert stated <= 110 * MIB, (kind, stated / MIB)


def test_cost_of_a_photo_decoded_to_scale_is_small() -> None:
    photo = picture(4000, 3000)
    costs = [
        PREPROCESSOR.cost(encode(photo, "JPEG", **options))
        for options in ({}, {"subsampling": 1}, {"progressive": True})
    ]
    assert {cost.pixels for cost in costs} == {12_000_000}
    baseline, uneven, progressive = (cost.memory_bytes for cost in costs)
    assert baseline < uneven < progressive
    assert baseline < PREPROCESSOR.cost(encode(photo, "BMP")).memory_bytes / 3


@pytest.mark.parametrize("orientation", [1, 6])
def test_cost_of_a_photo_does_not_depend_on_its_orientation(orientation: int) -> None:
    portrait, landscape = picture(2000, 3000), picture(3000, 2000)
    files = [with_orientation(image, orientation) for image in (portrait, landscape)]
    assert len({PREPROCESSOR.cost(data) for data in files}) == 1
