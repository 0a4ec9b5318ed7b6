"""A feature map as a picture."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageChops

from convscope.client import FeatureMap

Pixels = NDArray[np.uint8]


def ramps(channels: int, height: int = 6, width: int = 6) -> FeatureMap:
    """Return different channels, each stronger than the one before."""
    random = np.random.default_rng(0)
    array = random.random((channels, height, width)).astype(np.float32)
    array += np.arange(channels, dtype=np.float32)[:, None, None]
    return FeatureMap("blocks.2", array, tuple(range(channels)), "net", 3)


def count_tiles(sheet: Image.Image) -> int:
    """Count the separate areas of saturated color: the tiles and the legend."""
    rgb = np.asarray(sheet, dtype=np.int16)
    colored = np.ptp(rgb, axis=2) > 40
    tiles = 0
    while colored.any():
        row, column = np.argwhere(colored)[0]
        right = column + np.argmin(np.append(colored[row, column:], False))
        bottom = row + np.argmin(np.append(colored[row:, column], False))
        colored[row:bottom, column:right] = False
        tiles += 1
    return tiles


@pytest.mark.parametrize("channels", [1, 2, 3, 7, 16, 40, 64])
def test_every_channel_has_a_tile(channels: int) -> None:
    sheet = ramps(channels).to_image()
    assert sheet.mode == "RGB"
    assert count_tiles(sheet) == channels + 1  # the legend


def test_only_the_strongest_of_many_channels_are_shown() -> None:
    many = ramps(70)
    sheet = many.to_image()
    assert count_tiles(sheet) == 64 + 1
    weakest = many.array.copy()
    weakest[:6] = weakest[0].T
    same = FeatureMap(many.name, weakest, many.channels, many.model, many.version)
    assert same.to_image() == sheet


def test_tiles_show_their_channels() -> None:
    plain = ramps(4)
    turned = FeatureMap("blocks.2", plain.array[:, ::-1], plain.channels, "net", 3)
    assert difference(plain.to_image(), turned.to_image()) > 0
    shifted = FeatureMap("blocks.2", 5 * plain.array - 3, plain.channels, "net", 3)
    assert (
        difference(plain.to_image(), shifted.to_image()) <= 3
    )  # each is scaled on its own; the rest is rounding


@pytest.mark.parametrize(
    ("shape", "source"),
    [((16, 112, 112), True), ((320, 7, 7), True), ((40, 28, 28), False), ((8, 300, 200), True)],
)
def test_sheets_fit_a_screen(shape: tuple[int, int, int], source: bool) -> None:
    sheet = ramps(*shape).to_image(Image.new("RGB", (600, 400), "red") if source else None)
    assert 500 < sheet.width < 1600
    assert 300 < sheet.height < 1600


def test_the_source_is_shown_upright() -> None:
    photo = Image.new("RGB", (60, 40), "red")
    plain, with_photo = ramps(9).to_image(), ramps(9).to_image(photo)
    reds = [
        int((np.asarray(sheet) == (255, 0, 0)).all(axis=2).sum()) for sheet in (plain, with_photo)
    ]
    assert reds[0] == 0
    assert reds[1] > 5000
    out = io.BytesIO()
    photo.getexif()[0x0112] = 6
    photo.save(out, "PNG", exif=photo.getexif())
    assert difference(ramps(9).to_image(Image.open(out)), with_photo) > 0


@pytest.mark.parametrize(
    ("mode", "shown"),
    [("1", 0), ("L", 0), ("P", 0), ("I;16", 0), ("RGBA", 255), ("LA", 255), ("CMYK", 255)],
)
def test_sources_of_any_mode_are_shown(mode: str, shown: int) -> None:
    empty = Image.new(mode, (20, 10))  # black, transparent on white, or without any ink
    with_source = np.asarray(ramps(2).to_image(empty))
    assert (with_source == shown).all(axis=2).sum() > 1000
    assert (np.asarray(ramps(2).to_image()) == shown).all(axis=2).sum() == 0


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 7, 7)),
        np.ones((1, 1, 1)),
        np.full((2, 4, 4), -1e30),
        np.pad([[[5.0]]], ((0, 1), (40, 40), (40, 40))),
    ],
    ids=["zeros", "one cell", "large", "a single peak"],
)
def test_flat_channels_have_tiles(array: Any) -> None:
    channels = tuple(range(len(array)))
    sheet = FeatureMap("a", array.astype(np.float32), channels).to_image()
    assert count_tiles(sheet) == len(array) + 1  # the legend


def test_a_single_peak_is_visible() -> None:
    array = np.zeros((1, 41, 41), np.float32)
    flat = FeatureMap("a", array.copy(), (0,)).to_image()
    array[0, 20, 20] = 5
    assert difference(FeatureMap("a", array, (0,)).to_image(), flat) > 100


def test_the_heading_shows_the_name_and_the_stride() -> None:
    plain = ramps(4).to_image()
    named = ramps(4).to_image(image_name="cat.jpg", stride=8)
    left, top, right, bottom = ImageChops.difference(plain, named).getbbox() or (0, 0, 0, 0)
    assert (right - left) > 50
    assert top > 30
    assert bottom < 72  # the tiles did not move


def difference(one: Image.Image, other: Image.Image) -> int:
    """Return the largest difference of a pixel."""
    assert one.size == other.size
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())
