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
    fit,
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
# Wide photos are drawn above their heat, others beside it.
SIDES, WIDE_SIDES, WIDE_ASPECT = (520, 520), (860, 480), 1.8
MAX_NAME = 32
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
    return _assemble(explanation, [*panels, Panel(heat, _meaning(explanation))], image_name)


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


def _draw_header(
    draw: ImageDraw.ImageDraw, width: int, explanation: Drawable, image_name: str
) -> None:
    target, against = explanation.target, explanation.against
    title, note = _name(target), f"{target.probability:.1%}"
    if explanation.method == "eigen-cam":
        title, note = "what the network looks at", f"{title} {note}"
    elif against is not None:
        title = f"{title} rather than {_name(against)}"
        note = f"{note} and {against.probability:.1%}"
    parts = [
        image_name,
        f"{explanation.model} v{explanation.version}" if explanation.model else "",
        explanation.method,
    ]
    draw_header(draw, width, title, note, parts)


def _name(score: Score) -> str:
    """Return a label, without its end if two would not fit beside each other."""
    label = score.label
    return label if len(label) <= MAX_NAME else f"{label[: MAX_NAME - 3].rstrip()}..."


def _meaning(explanation: Drawable) -> str:
    if explanation.method == "eigen-cam":
        return "the same for all classes"
    target, against = _name(explanation.target), explanation.against
    if against is None:
        return f"orange speaks for {target}, blue against it"
    return f"orange speaks for {target}, blue for {_name(against)}"


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
    limit, width = explanation.limit, SCALE_WIDTH // 2 - 4
    _draw_text(draw, (middle, below), "0", width, INK, "ma")
    if limit:
        _draw_text(draw, (left, below), f"-{limit:.2g}", width, INK)
        _draw_text(draw, (right, below), f"+{limit:.2g}", width, INK, "ra")
    _draw_text(draw, (left, below + 17), low, width)
    _draw_text(draw, (right, below + 17), high, width, anchor="ra")


def _ends(explanation: Drawable) -> tuple[str, str]:
    """Return the meaning of the most negative and of the most positive heat."""
    if explanation.method == "eigen-cam":
        return "less", "more"
    against, high = explanation.against, f"for {_name(explanation.target)}"
    return "against it" if against is None else f"for {_name(against)}", high


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
