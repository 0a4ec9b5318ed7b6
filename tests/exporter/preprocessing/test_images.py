import io
import zlib

import numpy as np
import pytest
from PIL import Image

from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.preprocessing.resizing import ShortestEdge

RGB = ImagePreprocessing(8, 8, (0.5,) * 3, (0.5,) * 3, "bilinear", resize=ShortestEdge(8))
GRAY = ImagePreprocessing(8, 8, (0.5,), (0.5,))


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("mode", "value"),
    [("1", 255), ("L", 200), ("P", 200), ("LA", 200), ("RGB", 200), ("RGBA", 200), ("I;16", 1)],
)
def test_every_color_mode_is_converted_to_the_networks(mode: str, value: int) -> None:
    gray = Image.new("L", (20, 12), 200)
    image = encode(gray.convert(mode, dither=Image.Dither.NONE))
    for rule in (RGB, GRAY):
        prepared = rule.prepare(image)
        assert prepared.shape == (8, 8, rule.channels)
        assert (prepared == value).all()


def test_sixteen_bits_are_scaled_to_eight() -> None:
    deep = Image.fromarray(np.full((12, 12), 0x8080, np.uint16))
    assert (GRAY.prepare(encode(deep)) == 0x80).all()


def test_transparent_pixels_become_white() -> None:
    clear = Image.new("RGBA", (12, 12), (10, 20, 30, 0))
    assert (RGB.prepare(encode(clear)) == 255).all()


def test_the_exif_orientation_is_applied() -> None:
    left_dark = Image.new("L", (16, 16), 255)
    left_dark.paste(0, (0, 0, 8, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise, so that the left side becomes the top
    upright = GRAY.prepare(encode(left_dark, exif=exif))
    assert upright[:3].max() == 0
    assert upright[-3:].min() == 255


def test_a_wide_image_is_cropped_to_its_center() -> None:
    wide = Image.new("RGB", (48, 16), "red")
    wide.paste("blue", (16, 0, 32, 16))
    prepared = RGB.prepare(encode(wide))
    assert (prepared[:, 2:6] == (0, 0, 255)).all()


def damaged_png() -> bytes:
    """Damage the second half of a PNG's pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    data = bytearray(encode(Image.fromarray(noise)))
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff" * 40
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [damaged_png(), encode(Image.new("RGB", (90, 60), "red"), "JPEG")[:-40], b"text", b""],
    ids=["damaged", "truncated", "text", "empty"],
)
def test_damaged_images_are_rejected(data: bytes) -> None:
    with pytest.raises(ExporterError, match="not an image, or it is damaged"):
        RGB.prepare(data)


def test_a_crafted_chunk_behind_the_pixels_is_no_traceback() -> None:
    data = encode(Image.new("RGB", (20, 20)))
    chunk = b"\0\0\0\0iCCP" + zlib.crc32(b"iCCP").to_bytes(4, "big")
    with pytest.raises(ExporterError, match="or it is damaged"):
        RGB.prepare(data[:-12] + chunk + data[-12:])


def test_floats_of_unknown_range_are_rejected() -> None:
    with pytest.raises(ExporterError, match="save it with 8 or 16 bits"):
        RGB.prepare(encode(Image.new("F", (20, 20), 0.5), "TIFF"))
