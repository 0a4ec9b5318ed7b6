"""An explanation as a picture: the photo, its heat, and what the colors mean."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from convscope.client._drawing import (
    BACKGROUND,
    DIM,
    HEADER_HEIGHT,
    INK,
    MARGIN,
    draw_header,
    font_for,
    shorten,
)
from convscope.client._heat_colors import heat_colors
from convscope.client._image_crop import Box, ImageCrop
from convscope.client._overlay import paint_heat

__all__ = ["draw_explanation"]

OPACITY = 0.8
GAP, CAPTION_HEIGHT, FOOTER_HEIGHT = 16, 30, 78
PANEL_SIDE = 520  # of the longer side of the photo
MIN_INNER_WIDTH = 580
MAX_ASPECT = 1.8  # photos that are wider are drawn above their heat, not beside it
SCALE_WIDTH, SCALE_HEIGHT = 260, 12
GRAY = (110, 110, 110)


class Score(Protocol):
    """The attributes of a `ClassScore` that are drawn."""

    @property
    def label(self) -> str: ...
    @property
    def probability(self) -> float: ...


class Drawable(Protocol):
    """The attributes of an `Explanation` that are drawn."""

    @property
    def target(self) -> Score: ...
    @property
    def against(self) -> Score | None: ...
    @property
    def method(self) -> str: ...
    @property
    def array(self) -> NDArray[np.float32]: ...
    @property
    def logit(self) -> float: ...
    @property
    def share(self) -> float | None: ...
    @property
    def crop(self) -> ImageCrop | None: ...
    @property
    def model(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def limit(self) -> float: ...


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
    panels = []
    if photo is None or crop is None:
        height, width = explanation.array.shape
        factor = PANEL_SIDE / max(height, width)
        photo = Image.new("RGB", (round(width * factor), round(height * factor)), GRAY)
        box: Box = (0, 0, *photo.size)
    else:
        photo = _fit(photo)
        box = crop.box(*photo.size)
        panels.append((_framed(photo, box), _seen(photo, box)))
    heat = paint_heat(
        photo,
        explanation.array,
        box,
        limit=explanation.limit,
        opacity=OPACITY,
        dims_outside=True,
    )
    return _assemble(explanation, [*panels, (heat, _meaning(explanation))], image_name)


def _assemble(
    explanation: Drawable, panels: list[tuple[Image.Image, str]], image_name: str
) -> Image.Image:
    width, height = panels[0][0].size
    is_wide = width > MAX_ASPECT * height
    columns, rows = (1, len(panels)) if is_wide else (len(panels), 1)
    inner = columns * (width + GAP) - GAP
    sheet_width = 2 * MARGIN + max(inner, MIN_INNER_WIDTH)
    sheet_height = HEADER_HEIGHT + 8 + rows * (height + CAPTION_HEIGHT) + FOOTER_HEIGHT
    sheet = Image.new("RGB", (sheet_width, sheet_height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _draw_header(draw, sheet_width, explanation, image_name)
    start = (sheet_width - inner) // 2
    for index, (panel, caption) in enumerate(panels):
        left = start + (index % columns) * (width + GAP)
        top = HEADER_HEIGHT + 8 + (index // columns) * (height + CAPTION_HEIGHT)
        sheet.paste(panel, (left, top))
        text, font = font_for(caption, 13)
        text = shorten(text, font, max(width, MIN_INNER_WIDTH // columns - GAP))
        draw.text((left, top + height + 7), text, fill=DIM, font=font)
    _draw_scale(sheet, draw, explanation)
    return sheet


def _fit(photo: Image.Image) -> Image.Image:
    """Resize a photo to its panel."""
    factor = PANEL_SIDE / max(photo.size)
    if factor >= 1:
        factor = round(factor)  # whole steps keep every pixel equally large
    size = max(1, round(photo.width * factor)), max(1, round(photo.height * factor))
    grown = Image.Resampling.NEAREST if factor > 2 else Image.Resampling.BICUBIC
    return photo.resize(size, grown if factor > 1 else Image.Resampling.LANCZOS)


def _seen(photo: Image.Image, box: Box) -> str:
    return "input image" if box == (0, 0, *photo.size) else "framed: what the network saw"


def _framed(photo: Image.Image, box: Box) -> Image.Image:
    """Draw a frame around the part that the network saw."""
    framed = photo.copy()
    left, top, right, bottom = box
    if box != (0, 0, *photo.size):
        draw = ImageDraw.Draw(framed)
        draw.rectangle((left - 1, top - 1, right, bottom), outline="black", width=4)
        draw.rectangle((left, top, right - 1, bottom - 1), outline="white", width=2)
    return framed


def _draw_header(
    draw: ImageDraw.ImageDraw, width: int, explanation: Drawable, image_name: str
) -> None:
    target, against = explanation.target, explanation.against
    title, note = target.label, f"{target.probability:.1%}"
    if against is not None:
        title, note = (
            f"{title} rather than {against.label}",
            f"{note} and {against.probability:.1%}",
        )
    parts = [
        image_name,
        f"{explanation.model} v{explanation.version}" if explanation.model else "",
        explanation.method,
    ]
    draw_header(draw, width, title, note, parts)


def _meaning(explanation: Drawable) -> str:
    if explanation.method == "eigen-cam":
        return "what it looks at, for whichever class"
    if explanation.against is not None:
        return f"what speaks for {explanation.target.label} rather than {explanation.against.label}"
    return f"what speaks for {explanation.target.label}"


def _draw_scale(sheet: Image.Image, draw: ImageDraw.ImageDraw, explanation: Drawable) -> None:
    top, left = sheet.height - FOOTER_HEIGHT + 6, MARGIN
    levels = np.linspace(0, 254, SCALE_WIDTH).round().astype(np.uint8)
    colors = Image.fromarray(np.tile(heat_colors(OPACITY)[levels], (SCALE_HEIGHT, 1, 1)))
    bar = Image.new("RGB", colors.size, GRAY)
    bar.paste(colors.convert("RGB"), mask=colors.getchannel("A"))
    sheet.paste(bar, (left, top))
    limit = explanation.limit
    for x, text, anchor in (
        (0, f"-{limit:.3g}", "la"),
        (SCALE_WIDTH // 2, "0", "ma"),
        (SCALE_WIDTH, f"+{limit:.3g}", "ra"),
    ):
        text, font = font_for(text, 12)
        draw.text((left + x, top + SCALE_HEIGHT + 5), text, fill=INK, font=font, anchor=anchor)
