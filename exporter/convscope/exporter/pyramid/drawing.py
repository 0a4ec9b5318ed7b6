"""Draws the pyramids of several networks side by side with matplotlib."""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any

from PIL import Image

from convscope.exporter.errors import ExporterError, reason
from convscope.exporter.pyramid.levels import NetworkPyramid
from convscope.exporter.pyramid.steps import Step, Steps, steps_of

__all__ = ["FORMATS", "MAX_NETWORKS", "Drawing", "check_picture", "draw_pyramids"]

FORMATS = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp")
MAX_NETWORKS = 12

# All lengths are in pixels at 100 dots per inch.
DPI = 100
MARGIN, GUTTER, COLUMN, GAP = 34, 158, 326, 18
MAX_NAME = 28  # characters
MIN_COLUMNS = 3  # the title and the legend need this width
TITLE, LEGEND, NAME, TOP = 48, 92, 152, 206  # from the top of the picture
ROW, TOTALS, FOOTER = 102, 136, 62
SIDE = 118  # the width of the box of the largest input
LEAN, FLATTENING = 0.22, 0.2  # how far the lid of a box goes right and up, for its width
THICKEST = 58  # the height of the box with the most channels
BARS, FULL = 156, 112  # where the bars of a level begin, and the length of 100%
TOTAL_BAR = 200  # the length of the largest total
BAR = 17

INK, SOFT, LINE, BAND = "#1a2130", "#5a6475", "#c9d0da", "#f3f5f8"
# Blue and vermilion of Okabe and Ito, which people with any color vision can distinguish.
COMPUTE, WEIGHTS = "#0072b2", "#d55e00"
FRONT, LID, FLANK = "#8899b3", "#cfd8e6", "#66789a"
STYLE: Any = {  # matplotlib types the name of each setting
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "pyramid",
    "text.parse_math": False,  # a path may contain $
}


def check_picture(path: Path) -> None:
    """Check, before anything slow, that a picture can probably be written.

    Raises:
        ExporterError: The format is unknown, or the folder is missing or isn't writable.
    """
    if path.suffix.lower() not in FORMATS:
        found = f"the extension {path.suffix}" if path.suffix else "no extension"
        raise ExporterError(f"{path} has {found}; use one of {', '.join(FORMATS)}")
    if path.is_dir():
        raise ExporterError(f"{path} is a directory; use a name like {path}/pyramid.png")
    try:
        is_new = not path.exists()
        with path.open("ab"):
            pass
        if is_new:
            path.unlink()
    except OSError as error:
        raise ExporterError(
            f"{path} can't be written: {reason(error)}; choose another place"
        ) from error


def draw_pyramids(pyramids: Sequence[NetworkPyramid], path: Path) -> None:
    """Draw networks side by side, with the same scales for all.

    Args:
        pyramids: The networks.
        path: The picture; its suffix chooses the format.

    Raises:
        ExporterError: The file can't be written.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        drawing = Drawing(pyramids)
        drawing.draw()
        try:
            drawing.save(path)
        except (OSError, ValueError) as error:
            raise ExporterError(f"{path} can't be written: {reason(error)}") from error


class Drawing:
    """A figure in pixels, from the top left."""

    def __init__(self, pyramids: Sequence[NetworkPyramid]) -> None:
        from matplotlib.figure import Figure

        self._pyramids = pyramids
        self._columns = [steps_of(pyramid) for pyramid in pyramids]
        self._rows = sorted({key for steps in self._columns for key in steps})
        self._largest = max(max(pyramid.input[1:]) for pyramid in pyramids)
        self._most = max(step.channels for steps in self._columns for step in steps.values())
        columns = max(len(pyramids), MIN_COLUMNS)
        self._width = 2 * MARGIN + GUTTER + columns * (COLUMN + GAP) - GAP
        self._bottom = TOP + ROW * len(self._rows)
        self._height = self._bottom + TOTALS + FOOTER
        self.figure = Figure((self._width / DPI, self._height / DPI), dpi=DPI, facecolor="white")
        self._axes = self.figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, self._width), ylim=(self._height, 0))
        self._axes.axis("off")

    def draw(self) -> None:
        """Draw everything."""
        self._heading()
        self._row_names()
        for index, (pyramid, steps) in enumerate(zip(self._pyramids, self._columns, strict=True)):
            left = MARGIN + GUTTER + index * (COLUMN + GAP)
            self._network(left, pyramid, steps)
        self._totals()
        self._footer()

    def save(self, path: Path) -> None:
        """Write the picture. With a palette, a PNG file is a third as large."""
        if path.suffix.lower() != ".png":
            self.figure.savefig(path, dpi=DPI)
            return
        rendered = BytesIO()
        self.figure.savefig(rendered, format="png", dpi=DPI)
        with Image.open(rendered) as picture:
            flat = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        flat.save(path, optimize=True)

    def _heading(self) -> None:
        count = len(self._pyramids)
        title = f"Where {count} networks compute, and where their weights are"
        if count == 1:
            title = f"Where {_name(self._pyramids[0])} computes, and where its weights are"
        self._text(MARGIN, TITLE, title, 30, INK, weight="bold")
        left: float = MARGIN
        for color, text in (
            (COMPUTE, "share of the multiply-adds for one image"),
            (WEIGHTS, "share of the weights"),
        ):
            self._box(left, LEGEND - BAR / 2, BAR, BAR, color)
            self._text(left + 26, LEGEND, text, 19, INK)
            left += 470

    def _row_names(self) -> None:
        self._text(MARGIN, NAME + 32, "resolution", 18, SOFT)
        for row, key in enumerate(self._rows):
            top = TOP + row * ROW
            if row % 2 == 0:
                self._box(0, top, self._width, ROW, BAND)
            name = "1 × 1" if key == math.inf else "full size" if key == 0 else f"1/{2**key:g}"
            self._text(MARGIN, top + ROW / 2, name, 22, INK, weight="bold")

    def _network(self, left: float, pyramid: NetworkPyramid, steps: Steps) -> None:
        name = _name(pyramid)
        self._text(left, NAME, name, min(27, 500 / len(name)), INK, weight="bold")
        channels, *sizes = pyramid.input
        shape = " × ".join(map(str, (*sizes, channels)))
        self._text(left, NAME + 32, f"input {shape}", 18, SOFT)
        multiply_adds = [step.multiply_adds for step in steps.values()]
        parameters = [step.parameters for step in steps.values()]
        for key, step in steps.items():
            top = TOP + self._rows.index(key) * ROW
            self._slab(left, top, step)
            self._text(left + BARS, top + 20, step.title, 17.5, INK)
            self._share(left, top + 37, COMPUTE, step.multiply_adds, multiply_adds)
            self._share(left, top + 65, WEIGHTS, step.parameters, parameters)

    def _share(self, left: float, y: float, color: str, part: int, parts: Sequence[int]) -> None:
        """Draw the share of a step as a bar; that of the largest is bold."""
        share = part / max(sum(parts), 1)
        self._box(left + BARS, y, share * FULL, BAR, color)
        ink, weight = INK if part else SOFT, "bold" if part and part == max(parts) else "normal"
        at = left + BARS + share * FULL + 6
        self._text(at, y + BAR / 2, _percent(share), 16.5, ink, weight)

    def _slab(self, left: float, top: float, step: Step) -> None:
        """Draw the largest tensor of a step as a box."""
        side = max(max(step.levels[0].sizes) / self._largest * SIDE, 2)
        thick = max(math.sqrt(step.channels / self._most) * THICKEST, 1.5)
        lean, rise = side * LEAN, side * FLATTENING
        x = left + (SIDE * (1 + LEAN) - side - lean) / 2
        y = top + (ROW - thick - rise) / 2 + rise
        front = [(x, y), (x + side, y), (x + side, y + thick), (x, y + thick)]
        lid = [(x, y), (x + lean, y - rise), (x + side + lean, y - rise), (x + side, y)]
        right = (x + side + lean, y - rise)
        flank = [(x + side, y), right, (right[0], right[1] + thick), (x + side, y + thick)]
        for points, color in ((lid, LID), (flank, FLANK), (front, FRONT)):
            self._polygon(points, color)

    def _totals(self) -> None:
        top = self._bottom + 24
        self._axes.plot((MARGIN, self._width - MARGIN), (self._bottom + 4,) * 2, color=INK, lw=1.2)
        kinds = (
            ("multiply-adds", COMPUTE, [one.multiply_adds for one in self._pyramids]),
            ("weights", WEIGHTS, [one.parameters for one in self._pyramids]),
        )
        for row, (name, color, numbers) in enumerate(kinds):
            y = top + row * 46
            largest = max(*numbers, 1)
            self._text(MARGIN, y + 15, name, 18.5, color, weight="bold")
            for index, number in enumerate(numbers):
                left = MARGIN + GUTTER + index * (COLUMN + GAP)
                length = max(number / largest * TOTAL_BAR, 1.5)
                self._box(left, y, length, 30, color)
                self._text(left + length + 9, y + 15, _short(number), 23, INK, weight="bold")

    def _footer(self) -> None:
        note = (
            "Box: as wide as the tensor, as high as the square root of the channels of the widest "
            "tensor at this resolution. A layer counts where its output is. All networks have the "
            "same scales; the totals at the bottom are linear."
        )
        wrapped = fill(note, int((self._width - 2 * MARGIN) / 7.6))
        self._text(MARGIN, self._height - FOOTER + 20, wrapped, 15, SOFT)

    def _text(
        self, x: float, y: float, text: str, size: float, color: str, weight: str = "normal"
    ) -> None:
        points = size * 72 / DPI
        self._axes.text(x, y, text, size=points, color=color, weight=weight, va="center")

    def _box(self, x: float, y: float, width: float, height: float, color: str) -> None:
        self._polygon([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], color)

    def _polygon(self, points: Sequence[tuple[float, float]], color: str) -> None:
        from matplotlib.patches import Polygon

        self._axes.add_patch(Polygon(points, facecolor=color, edgecolor="none"))


def _name(pyramid: NetworkPyramid) -> str:
    """Return a name that fits its column; the end of a long one is the specific part."""
    name = pyramid.name
    return name if len(name) <= MAX_NAME else f"…{name[1 - MAX_NAME :]}"


def _percent(share: float) -> str:
    if share == 0:
        return "0"
    return "< 1%" if share < 0.005 else f"{share:.0%}"


def _short(number: int) -> str:
    """Return a count in three digits and a letter."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {letter}"
    return str(number)
