"""Colors are converted as Pillow converts them, and transparent pixels become white."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from convscope.server.inference.decoding.colors import convert


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)


def test_every_color_and_opacity_is_put_on_white_as_pillow_does() -> None:
    alpha, value = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    image = Image.fromarray(np.stack([value, value[::-1], value.T, alpha], axis=-1))
    page = Image.new("RGBA", image.size, "white")
    expected = Image.alpha_composite(page, image).convert("RGB")
    assert np.array_equal(_pixels(convert(image, "RGB")), _pixels(expected))
    assert np.array_equal(_pixels(convert(image, "L")), _pixels(expected.convert("L")))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("result", ["L", "RGB"])
def test_every_mode_is_converted_as_pillow_does(mode: str, result: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (331, 100, 4), dtype=np.uint8)
    image = Image.fromarray(noise).convert("RGB" if mode == "P" else "RGBA").convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    expected = image.convert("RGB")
    if image.has_transparency_data:
        page = Image.new("RGBA", image.size, "white")
        expected = Image.alpha_composite(page, image.convert("RGBA")).convert("RGB")
    elif mode != "P":
        expected = image.convert(result)
    assert np.array_equal(_pixels(convert(image, result)), _pixels(expected.convert(result)))


def test_gray_of_16_bits_is_scaled() -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (100, 331), dtype=np.uint16)
    expected = np.clip(noise / np.float32(257) + 0.5, 0, 255).astype(np.uint8)
    assert np.array_equal(_pixels(convert(Image.fromarray(noise), "L")), expected)
