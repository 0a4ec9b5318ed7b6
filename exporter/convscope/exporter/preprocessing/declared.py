"""The resize of images as a user declares it on the command line."""

from dataclasses import dataclass

from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing.resizing import (
    Exact,
    Fit,
    Placement,
    ResizeRule,
    ShortestEdge,
)

__all__ = ["DeclaredResize", "check_size"]

_WHITE = 255


@dataclass(frozen=True, slots=True)
class DeclaredResize:
    """The values of --resize, --padding and --placement.

    Args:
        resize: "256" for the length of the shorter edge, "256x320" for height and width,
            "exact" for those of the input, "fit" to keep the aspect ratio and pad.
        padding: The value of the padding, such as "114", or one for each channel, red first.
        placement: Where the image is placed on the padding.
    """

    resize: str | None = None
    padding: str | None = None
    placement: Placement | None = None

    def __post_init__(self) -> None:
        """Check the values that no input is needed for, before anything is loaded.

        Raises:
            ExporterError: A value is invalid.
        """
        if self.resize not in (None, "exact", "fit"):
            _sized(self.resize or "")
        if self.resize != "fit":
            for option in ("--padding", "--placement"):
                if self.options[option] is not None:
                    raise ExporterError(f"{option} needs --resize fit; the other rules don't pad")

    @property
    def options(self) -> dict[str, str | None]:
        """The options and their values."""
        return {
            "--resize": self.resize,
            "--padding": self.padding,
            "--placement": self.placement,
        }

    def rule(self, height: int, width: int, channels: int) -> ResizeRule | None:
        """Return the declared rule for an input; None if none is declared.

        Raises:
            ExporterError: A value is invalid.
        """
        if self.resize == "fit":
            color = _color(self.padding or "0", channels)
            return Fit(color, self.placement or "center")
        if self.resize is None:
            return None
        return Exact(height, width) if self.resize == "exact" else _sized(self.resize)


def check_size(rule: ResizeRule, height: int, width: int) -> None:
    """Check that the resized image covers the network's input.

    Raises:
        ExporterError: It is smaller.
    """
    if isinstance(rule, ShortestEdge):
        given, too_small = str(rule.length), rule.length < max(height, width)
        least = str(max(height, width))
    elif isinstance(rule, Exact):
        given, too_small = f"{rule.height}x{rule.width}", rule.height < height or rule.width < width
        least = f"{height}x{width}"
    else:
        return
    if too_small:
        raise ExporterError(
            f"--resize {given} is less than the network's input, {height}x{width}; use at least "
            f"{least}, or --resize fit for padding"
        )


def _sized(text: str) -> ResizeRule:
    height, separator, width = text.partition("x")
    sides = (height, width) if separator else (height,)
    if not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ExporterError(
            f"--resize {text!r} is none of: the length of the shorter edge, such as 256; height "
            "and width, such as 256x320; exact, which stretches to the input; fit, which keeps the "
            "aspect ratio and pads (letterbox), such as --resize fit --padding 114"
        )
    return Exact(int(height), int(width)) if separator else ShortestEdge(int(height))


def _color(text: str, channels: int) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) <= _WHITE for part in parts):
        raise ExporterError(
            f"--padding {text!r} is no color; pass a number of 0 to 255, or one for each channel "
            "with commas and without spaces, such as 124,116,104"
        )
    if len(parts) not in (1, channels):
        raise ExporterError(
            f"--padding has {len(parts)} numbers for {channels} channels; pass one, or one for "
            "each channel"
        )
    color = tuple(map(int, parts))
    return color if len(color) == channels else color * channels
