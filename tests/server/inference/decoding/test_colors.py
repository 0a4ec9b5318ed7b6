"""Colors are converted in pieces, and transparent pixels as Pillow puts them on a page."""

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


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("size", [(1000, 331), (70_000, 2)])  # several pieces, and a long row
def test_pieces_give_the_same_as_the_whole(mode: str, size: tuple[int, int]) -> None:
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(noise.view(np.uint16)[:, :, 0].copy())
        expected = np.clip(noise.view(np.uint16)[:, :, 0] / 257 + 0.5, 0, 255).astype(np.uint8)
    else:
        image = Image.fromarray(noise).convert("RGB" if mode == "P" else "RGBA").convert(mode)
        page = Image.new("RGBA", size, "white")
        expected = np.asarray(Image.alpha_composite(page, image.convert("RGBA")).convert("L"))
        if mode == "CMYK":  # it has no alpha to convert
            expected = np.asarray(image.convert("L"))
    assert np.array_equal(_pixels(convert(image, "L")), expected)
