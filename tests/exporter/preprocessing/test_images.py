import io

import numpy as np
import pytest
from PIL import Image

from convscope.exporter.preprocessing import ImagePreprocessing

RGB = ImagePreprocessing(8, 8, (0.5,) * 3, (0.5,) * 3, "bilinear", shortest_edge=8)
GRAY = ImagePreprocessing(8, 8, (0.5,), (0.5,))


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_every_colour_mode_becomes_what_the_network_expects(mode: str) -> None:
    picture = encode(Image.new("L", (20, 12), 200).convert(mode.replace("I;16", "I;16")))
    assert RGB.prepare(picture).shape == (8, 8, 3)
    assert GRAY.prepare(picture).shape == (8, 8, 1)


def test_sixteen_bits_are_scaled_to_eight() -> None:
    deep = Image.fromarray(np.full((12, 12), 0x8080, np.uint16))
    assert (GRAY.prepare(encode(deep)) == 0x80).all()


def test_what_is_transparent_becomes_white() -> None:
    clear = Image.new("RGBA", (12, 12), (10, 20, 30, 0))
    assert (RGB.prepare(encode(clear)) == 255).all()


def test_the_picture_is_turned_upright() -> None:
    left_dark = Image.new("L", (16, 16), 255)
    left_dark.paste(0, (0, 0, 8, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: what was left is then on top
    upright = GRAY.prepare(encode(left_dark, exif=exif))
    assert upright[:3].max() == 0
    assert upright[-3:].min() == 255


def test_the_centre_is_kept_of_a_wide_picture() -> None:
    wide = Image.new("RGB", (48, 16), "red")
    wide.paste("blue", (16, 0, 32, 16))
    prepared = RGB.prepare(encode(wide))
    assert (prepared[:, 2:6] == (0, 0, 255)).all()
