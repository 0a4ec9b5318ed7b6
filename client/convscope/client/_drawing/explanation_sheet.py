"""An explanation as a picture: the photo, its heat, and what the colors mean."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from convscope.client._drawing.explanation_words import (
    Drawable,
    facts,
    heading,
    meaning,
    scale_ends,
)
from convscope.client._drawing.heat_colors import heat_colors
from convscope.client._drawing.overlay import paint_heat
from convscope.client._drawing.style import (
    BACKGROUND,
    DIM,
    HEADER_HEIGHT,
    INK,
    MARGIN,
    draw_header,
    fit,
    font_for,
    shorten,
)
from convscope.client._results.image_crop import Box, ImageCrop

__all__ = ["draw_explanation"]

OPACITY = 0.85
GAP, CAPTION_HEIGHT, FOOTER_HEIGHT = 16, 32, 84
MIN_COLUMN_WIDTH = 320
# Wide photos are drawn above their heat, others beside it.
SIDES, WIDE_SIDES, WIDE_ASPECT = (520, 520), (860, 480), 1.8
SCALE_WIDTH, SCALE_HEIGHT = 300, 12
GRAY = (142, 142, 142)


class Panel(NamedTuple):
    """A picture on the sheet, and the text below it."""

    image: Image.Image
    caption: str


def draw_explanation(
    explanation: Drawable, photo: Image.Image | None, crop: ImageCrop | None, image_name: str
) -> Image.Image:
    """Draw an explanation beside the photo, or alone.

    Args:
        explanation: The explanation.
        photo: The upright RGB photo.
        crop: The part of it that the network saw.
        image_name: Its name, for the heading.
    """
    panels: list[Panel] = []
    if photo is None or crop is None:
        height, width = explanation.array.shape
        photo = fit(Image.new("RGB", (width, height), GRAY), *SIDES)
        box: Box = (0, 0, *photo.size)
    else:
        sides = WIDE_SIDES if _is_wide(photo) else SIDES
        photo = fit(photo, *sides)
        box = crop.box(*photo.size)
        panels.append(Panel(_framed(photo, box), _seen(photo, box)))
    heat = paint_heat(
        photo,
        explanation.array,
        box,
        limit=explanation.limit,
        opacity=OPACITY,
        dims_outside=True,
    )
    return _assemble(explanation, [*panels, Panel(heat, meaning(explanation))], image_name)


def _assemble(explanation: Drawable, panels: Sequence[Panel], image_name: str) -> Image.Image:
    width, height = panels[0].image.size
    column_width = max(width, MIN_COLUMN_WIDTH)
    columns = 1 if _is_wide(panels[0].image) else len(panels)
    rows = math.ceil(len(panels) / columns)
    sheet_width = 2 * MARGIN + max(columns * (column_width + GAP) - GAP, 2 * MIN_COLUMN_WIDTH)
    row_height = height + CAPTION_HEIGHT
    sheet_height = HEADER_HEIGHT + 10 + rows * row_height + FOOTER_HEIGHT
    sheet = Image.new("RGB", (sheet_width, sheet_height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    model = f"{explanation.model} v{explanation.version}" if explanation.model else ""
    parts = [image_name, model, explanation.method]
    draw_header(draw, sheet_width, *heading(explanation), parts)
    left = MARGIN
    for index, panel in enumerate(panels):
        left = MARGIN + (index % columns) * (column_width + GAP)
        top = HEADER_HEIGHT + 10 + (index // columns) * row_height
        sheet.paste(panel.image, (left, top))
        _draw_text(draw, (left, top + height + 7), panel.caption, column_width)
    scale_left = left if columns == 2 else sheet_width - MARGIN - SCALE_WIDTH
    top = sheet_height - FOOTER_HEIGHT + 10
    for index, fact in enumerate(facts(explanation)):
        _draw_text(draw, (MARGIN, top - 3 + 18 * index), fact, scale_left - MARGIN - GAP)
    _draw_scale(sheet, draw, (scale_left, top), explanation)
    return sheet


def _is_wide(photo: Image.Image) -> bool:
    return photo.width > WIDE_ASPECT * photo.height


def _seen(photo: Image.Image, box: Box) -> str:
    is_whole = box == (0, 0, *photo.size)
    return "input image" if is_whole else "framed: the part that the network saw"


def _framed(photo: Image.Image, box: Box) -> Image.Image:
    """Draw a frame around the part that the network saw."""
    framed = photo.copy()
    left, top, right, bottom = box
    if box != (0, 0, *photo.size):
        draw = ImageDraw.Draw(framed)
        draw.rectangle((left - 1, top - 1, right, bottom), outline="black", width=4)
        draw.rectangle((left, top, right - 1, bottom - 1), outline="white", width=2)
    return framed


def _draw_scale(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], explanation: Drawable
) -> None:
    """Draw which color means which heat."""
    left, top = at
    levels = np.linspace(0, 254, SCALE_WIDTH).round().astype(np.uint8)
    colors = Image.fromarray(np.tile(heat_colors(OPACITY)[levels], (SCALE_HEIGHT, 1, 1)))
    bar = Image.new("RGB", colors.size, GRAY)
    bar.paste(colors.convert("RGB"), mask=colors.getchannel("A"))
    sheet.paste(bar, at)
    low, high = scale_ends(explanation)
    below, middle, right = top + SCALE_HEIGHT + 4, left + SCALE_WIDTH // 2, left + SCALE_WIDTH
    limit, width = explanation.limit, SCALE_WIDTH // 2 - 4
    _draw_text(draw, (middle, below), "0", width, INK, "ma")
    if limit:
        _draw_text(draw, (left, below), f"-{limit:.2g}", width, INK)
        _draw_text(draw, (right, below), f"+{limit:.2g}", width, INK, "ra")
    _draw_text(draw, (left, below + 17), low, width)
    _draw_text(draw, (right, below + 17), high, width, anchor="ra")


def _draw_text(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    width: int,
    color: str = DIM,
    anchor: str = "la",
) -> None:
    text, font = font_for(text, 13)
    draw.text(at, shorten(text, font, width), fill=color, font=font, anchor=anchor)
