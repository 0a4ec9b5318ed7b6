"""An explanation as a picture: the photo, its heat, and what the colors mean."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

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

OPACITY = 0.85
GAP, CAPTION_HEIGHT, FOOTER_HEIGHT = 16, 32, 84
MIN_COLUMN_WIDTH = 320
# The longer side of a photo. Wide photos are drawn above their heat, others beside it.
PANEL_SIDE, WIDE_PANEL_SIDE, WIDE_ASPECT = 520, 860, 1.8
SCALE_WIDTH, SCALE_HEIGHT = 300, 12
GRAY = (142, 142, 142)


class Score(Protocol):
    """The attributes of a `ClassScore` that are drawn."""

    @property
    def label(self) -> str: ...
    @property
    def probability(self) -> float: ...


class Panel(NamedTuple):
    """A picture on the sheet, and the text below it."""

    image: Image.Image
    caption: str


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
    def remainder(self) -> float | None: ...
    @property
    def share(self) -> float | None: ...
    @property
    def crop(self) -> ImageCrop | None: ...
    @property
    def tensor(self) -> str: ...
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
    panels: list[Panel] = []
    if photo is None or crop is None:
        height, width = explanation.array.shape
        factor = PANEL_SIDE / max(height, width)
        photo = Image.new("RGB", (round(width * factor), round(height * factor)), GRAY)
        box: Box = (0, 0, *photo.size)
    else:
        photo = _fit(photo)
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
    return _assemble(explanation, [*panels, Panel(heat, _meaning(explanation))], image_name)


def _assemble(explanation: Drawable, panels: Sequence[Panel], image_name: str) -> Image.Image:
    width, height = panels[0].image.size
    column_width = max(width, MIN_COLUMN_WIDTH)
    columns = 1 if _is_wide(panels[0].image) else 2
    rows = math.ceil(len(panels) / columns)
    sheet_width = 2 * MARGIN + max(columns * (column_width + GAP) - GAP, 2 * MIN_COLUMN_WIDTH)
    row_height = height + CAPTION_HEIGHT
    sheet_height = HEADER_HEIGHT + 10 + rows * row_height + FOOTER_HEIGHT
    sheet = Image.new("RGB", (sheet_width, sheet_height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _draw_header(draw, sheet_width, explanation, image_name)
    left = MARGIN
    for index, panel in enumerate(panels):
        left = MARGIN + (index % columns) * (column_width + GAP)
        top = HEADER_HEIGHT + 10 + (index // columns) * row_height
        sheet.paste(panel.image, (left, top))
        _draw_text(draw, (left, top + height + 7), panel.caption, column_width)
    scale_left = left if columns == 2 else sheet_width - MARGIN - SCALE_WIDTH
    top = sheet_height - FOOTER_HEIGHT + 10
    _draw_facts(draw, (MARGIN, top), explanation, scale_left - MARGIN - GAP)
    _draw_scale(sheet, draw, (scale_left, top), explanation)
    return sheet


def _is_wide(photo: Image.Image) -> bool:
    return photo.width > WIDE_ASPECT * photo.height


def _fit(photo: Image.Image) -> Image.Image:
    """Resize a photo to its panel."""
    factor = (WIDE_PANEL_SIDE if _is_wide(photo) else PANEL_SIDE) / max(photo.size)
    if factor >= 2:
        factor = round(factor)  # whole steps keep every pixel equally large
    size = max(1, round(photo.width * factor)), max(1, round(photo.height * factor))
    is_tiny = factor >= 4
    return photo.resize(size, Image.Resampling.NEAREST if is_tiny else Image.Resampling.LANCZOS)


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
    target, against = explanation.target.label, explanation.against
    if explanation.method == "eigen-cam":
        return "orange: what the network looks at, whatever the class"
    if against is None:
        return f"orange speaks for {target}, blue against it"
    return f"orange speaks for {target}, blue for {against.label}"


def _draw_facts(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], explanation: Drawable, width: int
) -> None:
    """Draw how much of the logit the heat explains."""
    left, top = at
    name = "logit" if explanation.against is None else "difference of the logits"
    lines = [f"{name}: {explanation.logit:+.2f}"]
    if explanation.remainder is not None:
        explained = explanation.logit - explanation.remainder
        lines.append(f"sum of the heat: {explained:+.2f}{_percentage(explanation.share)}")
    if explanation.method == "eigen-cam":
        lines = [f"heat in units of {explanation.tensor}"]
    for index, line in enumerate(lines):
        _draw_text(draw, (left, top - 3 + 18 * index), line, width)


def _percentage(share: float | None) -> str:
    return "" if share is None else f", {share:.0%} of it"


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
    low, high = _ends(explanation)
    below, middle, right = top + SCALE_HEIGHT + 4, left + SCALE_WIDTH // 2, left + SCALE_WIDTH
    limit, width = f"{explanation.limit:.2g}", SCALE_WIDTH // 2 - 4
    _draw_text(draw, (left, below), f"-{limit}", width, INK)
    _draw_text(draw, (middle, below), "0", width, INK, "ma")
    _draw_text(draw, (right, below), f"+{limit}", width, INK, "ra")
    _draw_text(draw, (left, below + 17), low, width)
    _draw_text(draw, (right, below + 17), high, width, anchor="ra")


def _ends(explanation: Drawable) -> tuple[str, str]:
    """Return the meaning of the most negative and of the most positive heat."""
    if explanation.method == "eigen-cam":
        return "less", "more"
    target, against = explanation.target.label, explanation.against
    return "against it" if against is None else f"for {against.label}", f"for {target}"


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
