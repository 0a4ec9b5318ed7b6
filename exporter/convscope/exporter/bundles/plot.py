"""Draws a pyramid: each feature map as a slab, and what one of its cells sees of the input."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from convscope.exporter.bundles.describe import Level, Pyramid
from convscope.exporter.errors import ExporterError, reason

__all__ = ["plot_pyramid"]

SCALE = 3  # pixels for each unit below
MARGIN = 36
GAP = 26
COLUMN = 112  # the least width of a column
MAX_NAME = 17  # characters that fit it
TALLEST = 150  # the height of the input's slab
SHORTEST = 12
FLATTENING = 0.6  # 1 would leave nothing to see of the smallest
THIN, THICK = 4, 70  # the depth of a slab of the fewest and the most channels
LEAN = 0.42  # how far a slab goes right for each unit of its height
SLANT = 0.45  # how far it goes up for each unit that it goes right
MIDDLE = MARGIN + 40 + TALLEST * (1 + LEAN * SLANT) / 2  # of the slabs
TEXT = MIDDLE + TALLEST * (1 + LEAN * SLANT) / 2 + 20
FIELD = 96  # the side of the small pictures of the input
FIELDS = TEXT + 20 + 15 * 5 + 12
HEIGHT = FIELDS + FIELD + MARGIN - 6

INK, SOFT, FAINT, PAPER = "#1c2330", "#6b7687", "#d9dee6", "#ffffff"
# Of the slabs, from the first to the last.
COLORS = ((74, 144, 217), (38, 166, 154), (240, 180, 60), (226, 92, 70))
INPUT, CLASSES = (176, 184, 196), (74, 84, 102)

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Slab:
    """One column of the drawing, in units."""

    title: str
    lines: tuple[str, ...]
    side: float
    depth: float
    color: Color
    field: float  # the share of the input's side that a cell sees

    @property
    def lean(self) -> float:
        """Return how far the back is to the right of the front."""
        return self.side * LEAN

    @property
    def width(self) -> float:
        """From the left edge of the front to the right edge of the back."""
        return self.depth + self.lean


def plot_pyramid(pyramid: Pyramid, path: Path, photo: Image.Image | None = None) -> None:
    """Draw a pyramid into a picture file.

    Args:
        pyramid: What to draw.
        path: Where it goes; its suffix chooses the format.
        photo: An input of the graph, to show what the cells see of it.

    Raises:
        ExporterError: The file can't be written.
    """
    picture = _draw(f"{pyramid.model} v{pyramid.version}", _slabs(pyramid), photo)
    try:
        picture.save(path)
    except (OSError, ValueError) as error:
        raise ExporterError(
            f"{path} can't be written: {reason(error)}; use a name like pyramid.png"
        ) from error


def _slabs(pyramid: Pyramid) -> list[_Slab]:
    *size, channels = pyramid.input if pyramid.is_image else (*pyramid.input[1:], pyramid.input[0])
    extent = size[-1]
    first = _Slab("input", (_shape((channels, *size)),), TALLEST, _depth(channels), INPUT, 1.0)
    maps = [level for level in pyramid.levels if len(level.shape) > 1]
    slabs = [first]
    for index, level in enumerate(maps):
        share = index / max(len(maps) - 1, 1)
        slabs.append(_map_slab(level, extent, _color(share)))
    for level in pyramid.levels:
        if len(level.shape) == 1:
            lines = (f"{level.shape[0]:,} classes", "", "sees the whole input", *_costs(level))
            slabs.append(_Slab(level.name, lines, SHORTEST, _depth(level.shape[0]), CLASSES, 1.0))
    return slabs


def _map_slab(level: Level, extent: int, color: Color) -> _Slab:
    field = level.receptive_field
    seen = "sees the whole input" if field is None else f"sees {field} x {field}"
    lines = (_shape(level.shape), f"stride {level.stride:g}", seen, *_costs(level))
    side = max(TALLEST * (level.shape[-1] / extent) ** FLATTENING, SHORTEST)
    share = 1.0 if field is None else min(field / extent, 1.0)
    return _Slab(level.name, lines, side, _depth(level.shape[0]), color, share)


def _costs(level: Level) -> tuple[str, str]:
    return (
        f"{short(level.parameters)} parameters",
        f"{short(level.multiply_adds)} multiply-adds",
    )


def short(number: float) -> str:
    """A count in three digits and a letter."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {letter}"
    return f"{number:g}"


def _shape(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _depth(channels: int) -> float:
    """Wider with each doubling of the channels; 2048 are the widest."""
    return THIN + (THICK - THIN) * min(math.log2(max(channels, 1)) / 11, 1)


def _color(share: float) -> Color:
    place = share * (len(COLORS) - 1)
    index = min(int(place), len(COLORS) - 2)
    return _mix(COLORS[index], COLORS[index + 1], place - index)


def _mix(first: Color, last: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, last, strict=True))
    return red, green, blue


def _draw(title: str, slabs: Sequence[_Slab], photo: Image.Image | None) -> Image.Image:
    columns = [max(slab.width, COLUMN) for slab in slabs]
    width = 2 * MARGIN + sum(columns) + GAP * (len(slabs) - 1)
    picture = Image.new("RGB", (round(width * SCALE), round(HEIGHT * SCALE)), PAPER)
    pen = _Pen(picture, photo)
    pen.text(MARGIN, MARGIN - 12, title, 19, INK)
    left = float(MARGIN)
    for slab, column in zip(slabs, columns, strict=True):
        pen.column(left, slab)
        left += column + GAP
    return picture


class _Pen:
    """Draws in units."""

    def __init__(self, picture: Image.Image, photo: Image.Image | None) -> None:
        self._picture = picture
        self._draw = ImageDraw.Draw(picture)
        self._photo = photo

    def text(self, x: float, y: float, text: str, size: float, color: str) -> None:
        font = ImageFont.load_default(size * SCALE)
        self._draw.text((x * SCALE, y * SCALE), text, fill=color, font=font)

    def column(self, left: float, slab: _Slab) -> None:
        self._slab(left, slab)
        self.text(left, TEXT, _short_name(slab.title), 13, INK)
        for index, line in enumerate(slab.lines):
            self.text(left, TEXT + 20 + 15 * index, line, 10.5, SOFT)
        self._field(left, slab)

    def _slab(self, left: float, slab: _Slab) -> None:
        """A box whose front is the plane, foreshortened, and whose depth are the channels."""
        rise = slab.lean * SLANT
        floor = MIDDLE + (slab.side + rise) / 2
        a, b = (left, floor), (left + slab.depth, floor)
        c, d = (left + slab.width, floor - rise), (left + slab.lean, floor - rise)
        up = slab.side
        front = [a, b, (b[0], b[1] - up), (a[0], a[1] - up)]
        side = [b, c, (c[0], c[1] - up), (b[0], b[1] - up)]
        lid = [(p[0], p[1] - up) for p in (a, b, c, d)]
        for points, light in ((front, 0.0), (side, -0.2), (lid, 0.4)):
            self._polygon(points, _shade(slab.color, light))

    def _field(self, left: float, slab: _Slab) -> None:
        """The input, dimmed but for the part that a cell in its middle sees."""
        side = round(FIELD * SCALE)
        corner = (round(left * SCALE), round(FIELDS * SCALE))
        full = _background(self._photo, side)
        dimmed = Image.blend(full, Image.new("RGB", full.size, PAPER), 0.72)
        seen = max(round(side * slab.field), 5)
        inset = (side - seen) // 2
        box = (inset, inset, inset + seen, inset + seen)
        dimmed.paste(full.crop(box), box)
        pen = ImageDraw.Draw(dimmed)
        pen.rectangle((0, 0, side - 1, side - 1), outline=FAINT, width=2)
        if slab.field < 1:
            pen.rectangle(box, outline=slab.color, width=SCALE)
        else:
            pen.rectangle((0, 0, side - 1, side - 1), outline=slab.color, width=SCALE)
        self._picture.paste(dimmed, corner)

    def _polygon(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        self._draw.polygon(scaled, fill=color, outline=_shade(color, -0.3), width=1)


def _short_name(name: str) -> str:
    """Return the end of a name that is too long for its column: it is the specific part."""
    return name if len(name) <= MAX_NAME else f"..{name[2 - MAX_NAME :]}"


def _background(photo: Image.Image | None, side: int) -> Image.Image:
    if photo is None:
        return Image.new("RGB", (side, side), _shade(INPUT, 0.3))
    small = photo.width < side / 4  # then its pixels are to be seen
    how = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return photo.convert("RGB").resize((side, side), how)


def _shade(color: Color, light: float) -> Color:
    return _mix(color, (255, 255, 255) if light > 0 else (0, 0, 0), abs(light))
