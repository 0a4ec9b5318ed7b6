"""A drawing surface at twice the resolution of its picture, so that lines are smooth."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

__all__ = ["Box", "Canvas"]

_FINE = 2

# Left, top, right, bottom in pixels of the picture.
Box = tuple[float, float, float, float]
Point = tuple[float, float]


class Canvas:
    """A surface with the coordinates of the finished picture."""

    def __init__(self, width: int, height: int, color: str) -> None:
        self._image = Image.new("RGB", (_FINE * width, _FINE * height), color)
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def picture(self) -> Image.Image:
        """Return the finished picture."""
        width, height = self._image.size
        return self._image.resize((width // _FINE, height // _FINE), Image.Resampling.LANCZOS)

    def box(self, box: Box, color: str, radius: float = 0) -> None:
        """Fill a rectangle."""
        self._draw.rounded_rectangle([_FINE * v for v in box], _FINE * radius, color)

    def line(self, points: Sequence[Point], color: str, width: float = 1) -> None:
        """Draw a line through points."""
        self._draw.line(_fine(points), color, round(_FINE * width), joint="curve")

    def dashes(self, left: float, right: float, y: float, color: str) -> None:
        """Draw a dashed horizontal line."""
        x = left
        while x < right:
            self.line([(x, y), (min(x + 7, right), y)], color, 1.5)
            x += 12

    def area(self, points: Sequence[Point], color: str, opacity: float) -> None:
        """Fill a polygon with a transparent color."""
        alpha = f"{round(255 * opacity):02x}"
        self._draw.polygon(_fine(points), color + alpha)

    def text(
        self,
        at: Point,
        text: str,
        color: str,
        size: float = 12,
        *,
        anchor: str = "la",
        width: float | None = None,
    ) -> None:
        """Write text, truncated to a width."""
        font = ImageFont.load_default(_FINE * size)
        if width is not None:
            whole = text
            while len(text) > 1 and font.getlength(text) > _FINE * width:
                whole = whole[:-1]
                text = whole.rstrip() + "…"
        self._draw.text((_FINE * at[0], _FINE * at[1]), text, color, font, anchor)


def _fine(points: Sequence[Point]) -> list[Point]:
    return [(_FINE * x, _FINE * y) for x, y in points]
