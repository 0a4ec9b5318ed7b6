"""What all pictures share: colors, fonts, and the heading."""

import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "BACKGROUND",
    "DIM",
    "HEADER_HEIGHT",
    "INK",
    "MARGIN",
    "PANEL",
    "Font",
    "draw_header",
    "fit",
    "font_for",
    "shorten",
]

BACKGROUND, INK, DIM, PANEL = "#18181b", "#f4f4f5", "#a1a1aa", "#27272a"
MARGIN, HEADER_HEIGHT = 28, 72

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_VISIBLE_PIXELS = 4
REDUCING_GAP = 2.0  # a photo is first reduced by a whole factor, which is several times faster
# Fonts for labels in other scripts, if the system has one of them.
_SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf")


def font_for(text: str, size: int) -> tuple[str, Font]:
    """Return a text and a font that can draw it.

    Pillow's own font has only the characters of ASCII and a few more. Without another font,
    letters lose their accents, and other characters become question marks.
    """
    if text.replace("·", "").isascii():
        return text, _font(size)
    for name in _SYSTEM_FONTS:
        try:
            return text, ImageFont.truetype(name, size)
        except OSError:
            continue
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if c.isascii() or c == "·" else "?" for c in plain), _font(size)


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Resize an image to a box. The pixels of a tiny image become squares of equal size."""
    factor = min(width / image.width, height / image.height)
    if factor >= _VISIBLE_PIXELS:
        factor = int(factor)
    how = Image.Resampling.NEAREST if factor >= _VISIBLE_PIXELS else Image.Resampling.LANCZOS
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, how, reducing_gap=REDUCING_GAP)


def shorten(text: str, font: Font, width: float) -> str:
    """Return a text that fits a width, with "..." in the place of its end if need be."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1].rstrip()
    return text + "..."


def draw_header(
    draw: ImageDraw.ImageDraw, width: int, title: str, note: str, parts: Iterable[str]
) -> None:
    """Draw the heading of a picture.

    Args:
        draw: Draws on the picture.
        width: The width of the picture.
        title: The first line.
        note: A dim text behind it.
        parts: The parts of the second line; empty ones are omitted.
    """
    room = width - 2 * MARGIN
    title, font = font_for(title, 22)
    if note:
        room -= round(font.getlength(f"  {note}"))
    title = shorten(title, font, room)
    draw.text((MARGIN, 18), title, fill=INK, font=font)
    if note:
        left = MARGIN + font.getlength(f"{title}  ")
        draw.text((left, 18), note, fill=DIM, font=font)
    line, font = font_for("  ·  ".join(filter(None, parts)), 14)
    draw.text((MARGIN, 46), shorten(line, font, width - 2 * MARGIN), fill=DIM, font=font)


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size=size)
