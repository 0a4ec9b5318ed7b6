"""Sheets as PNG files have the pixels of the sheet."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convscope.client._drawing.png import read_origin, save_png


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (61, 40)])
def test_pixels_are_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    pixels[height // 2 :] = pixels[0]
    save_png(Image.fromarray(pixels), tmp_path / "sheet.png", b"1f")
    with Image.open(tmp_path / "sheet.png") as read:
        read.verify()
    with Image.open(tmp_path / "sheet.png") as read:
        assert (read.format, read.mode, read.size) == ("PNG", "RGB", size)
        assert np.array_equal(np.asarray(read), pixels)
    assert read_origin(tmp_path / "sheet.png") == b"1f"


def test_other_modes_become_rgb(tmp_path: Path) -> None:
    save_png(Image.new("L", (4, 4), 7), tmp_path / "gray.png", b"")
    with Image.open(tmp_path / "gray.png") as read:
        assert read.getpixel((0, 0)) == (7, 7, 7)
