"""A feature map as a picture: one labeled tile for each channel, on one sheet."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convscope.client._drawing.style import (
    BACKGROUND,
    DIM,
    HEADER_HEIGHT,
    MARGIN,
    PANEL,
    draw_header,
    fit,
    font_for,
)
from convscope.client._drawing.viridis import channel_levels, viridis, viridis_palette
from convscope.client._results.image_crop import ImageCrop

__all__ = ["draw_contact_sheet"]

MAX_TILES = 64
LANDSCAPE = 4 / 3  # the sheet is wider than high, as screens are
GAP, LABEL_HEIGHT, FOOTER_HEIGHT = 8, 18, 44
LABEL_TOP = 3
LEGEND_WIDTH, LEGEND_HEIGHT = 96, 10
MIN_INNER_WIDTH = 580  # the footer's


class Drawable(Protocol):
    """The attributes of a `FeatureMap` that are drawn."""

    @property
    def name(self) -> str: ...
    @property
    def array(self) -> NDArray[np.float32]: ...
    @property
    def channels(self) -> tuple[int, ...]: ...
    @property
    def model(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def crop(self) -> ImageCrop | None: ...

    def strongest(self, count: int) -> list[int]:
        """Return the positions in `array` of the channels with the largest mean."""


@dataclass(frozen=True)
class _Layout:
    """The positions of the tiles, in pixels. The source, if any, spans 1 cell or 2 x 2 cells."""

    columns: int
    rows: int
    tile_width: int
    tile_height: int
    source_span: int

    @property
    def cell(self) -> tuple[int, int]:
        return self.tile_width + GAP, self.tile_height + LABEL_HEIGHT + GAP

    @property
    def size(self) -> tuple[int, int]:
        width, height = self.cell
        return (
            2 * MARGIN + max(self.columns * width - GAP, MIN_INNER_WIDTH),
            HEADER_HEIGHT + self.rows * height - GAP + FOOTER_HEIGHT,
        )

    def origin(self, column: int, row: int) -> tuple[int, int]:
        width, height = self.cell
        return MARGIN + column * width, HEADER_HEIGHT + row * height

    def free_cells(self) -> list[tuple[int, int]]:
        """Return the cells that the source doesn't cover, row by row."""
        return [
            (column, row)
            for row in range(self.rows)
            for column in range(self.columns)
            if column >= self.source_span or row >= self.source_span
        ]


def draw_contact_sheet(
    feature_map: Drawable,
    source: Image.Image | None = None,
    *,
    image_name: str = "",
    stride: float | None = None,
) -> Image.Image:
    """Draw the channels of a feature map, and the image that they come from."""
    positions = _positions(feature_map)
    layout = _lay_out(len(positions), feature_map.array.shape, source is not None)
    sheet = Image.new("RGB", layout.size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _draw_header(draw, sheet.width, feature_map, image_name, stride)
    if source is not None:
        caption = "input image" if feature_map.crop is None else "what the network saw"
        _draw_source(sheet, draw, source, caption, layout)
    levels = channel_levels(feature_map.array[positions])
    for position, channel, cell in zip(positions, levels, layout.free_cells(), strict=False):
        origin = layout.origin(*cell)
        sheet.paste(_paint(channel, layout), origin)
        label = _channel_label(_channel_name(feature_map, position))
        sheet.paste(label, (origin[0], origin[1] + layout.tile_height + LABEL_TOP))
    _draw_footer(sheet, draw, feature_map, len(positions))
    return sheet


def _positions(feature_map: Drawable) -> list[int]:
    """Return the channels to draw: all in their order, or the strongest if there are too many."""
    count = len(feature_map.array)
    return list(range(count)) if count <= MAX_TILES else feature_map.strongest(MAX_TILES)


def _channel_name(feature_map: Drawable, position: int) -> str:
    return str(feature_map.channels[position]) if feature_map.channels else "mean"


def _lay_out(tiles: int, shape: tuple[int, ...], has_source: bool) -> _Layout:
    _, height, width = shape
    longest = 112 if tiles > 24 else 144 if tiles > 8 else 224
    factor = longest / max(height, width)
    if factor >= 1:
        factor = round(factor)  # whole steps keep every cell of the map equally large
    tile_width, tile_height = max(1, round(width * factor)), max(1, round(height * factor))
    span = (2 if tiles > 8 else 1) if has_source else 0
    return min(
        (
            _Layout(columns, rows, tile_width, tile_height, span)
            for columns, rows in _grids(tiles + span**2, span)
        ),
        key=lambda layout: _awkwardness(layout, tiles),
    )


def _grids(cells: int, span: int) -> list[tuple[int, int]]:
    """Return every possible number of columns, with the rows that it needs."""
    return [
        (columns, max(span, math.ceil(cells / columns)))
        for columns in range(max(span, 1), max(cells, span) + 1)
    ]


def _awkwardness(layout: _Layout, tiles: int) -> float:
    """Return how far a layout is from a landscape sheet without holes."""
    width, height = layout.cell
    aspect = (layout.columns * width) / (layout.rows * height)
    holes = len(layout.free_cells()) - tiles
    return abs(math.log(aspect / LANDSCAPE)) + holes / tiles


def _paint(levels: NDArray[np.uint8], layout: _Layout) -> Image.Image:
    """Resize one channel, uint8 [height, width], to the tile, and color it."""
    grown = layout.tile_width >= levels.shape[1]
    tile = Image.fromarray(levels).resize(
        (layout.tile_width, layout.tile_height),
        Image.Resampling.NEAREST if grown else Image.Resampling.LANCZOS,
    )
    tile.putpalette(viridis_palette())
    return tile


@lru_cache(1024)
def _channel_label(text: str) -> Image.Image:
    """Return a channel's name, which many sheets show."""
    text, font = font_for(text, 12)
    label = Image.new("RGB", (math.ceil(font.getlength(text)) + 1, LABEL_HEIGHT), BACKGROUND)
    ImageDraw.Draw(label).text((0, 0), text, fill=DIM, font=font)
    return label


def _draw_source(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    source: Image.Image,
    caption: str,
    layout: _Layout,
) -> None:
    width, height = layout.cell
    box = (layout.source_span * width - GAP, layout.source_span * height - GAP - LABEL_HEIGHT)
    fitted = fit(source, *box)
    left, top = layout.origin(0, 0)
    draw.rectangle((left, top, left + box[0] - 1, top + box[1] - 1), fill=PANEL)
    sheet.paste(fitted, (left + (box[0] - fitted.width) // 2, top + (box[1] - fitted.height) // 2))
    draw.text((left, top + box[1] + LABEL_TOP), caption, fill=DIM, font=font_for(caption, 12)[1])


def _draw_header(
    draw: ImageDraw.ImageDraw,
    width: int,
    feature_map: Drawable,
    image_name: str,
    stride: float | None,
) -> None:
    channels, rows, columns = feature_map.array.shape
    parts = [
        image_name,
        f"{feature_map.model} v{feature_map.version}" if feature_map.model else "",
        f"{channels} x {rows} x {columns}",
        f"stride {stride:g}" if stride else "",
    ]
    draw_header(draw, width, feature_map.name, "", parts)


def _draw_footer(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, feature_map: Drawable, shown: int
) -> None:
    top, right = sheet.height - 28, sheet.width - MARGIN
    text, font = font_for(
        f"{_shown_channels(feature_map, shown)} scaled from its 1st to 99th percentile", 12
    )
    draw.text((MARGIN, top), text, fill=DIM, font=font)
    draw.text((right, top), "high", fill=DIM, font=font, anchor="ra")
    right -= 30
    legend = Image.fromarray(viridis()[np.newaxis]).resize((LEGEND_WIDTH, LEGEND_HEIGHT))
    sheet.paste(legend, (right - LEGEND_WIDTH, top + 3))
    draw.text((right - LEGEND_WIDTH - 6, top), "low", fill=DIM, font=font, anchor="ra")


def _shown_channels(feature_map: Drawable, shown: int) -> str:
    if not feature_map.channels:
        return "mean over the channels,"
    count = len(feature_map.channels)
    if shown < count:
        return f"{shown} strongest of {count} channels, each"
    return f"{count} channels, each" if count > 1 else "1 channel,"
