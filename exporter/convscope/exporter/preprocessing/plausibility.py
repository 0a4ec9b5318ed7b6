"""Rejects a mean and a standard deviation that don't fit the scale of the pixels."""

from collections.abc import Sequence

from convscope.exporter.errors import ExporterError

__all__ = ["WHITE", "check_normalization"]

# The distance between black and white after the normalization. It is 1 for pixels/255, about 4
# for ImageNet's normalization, and 255 for unscaled pixels.
_MIN_RANGE, _MAX_RANGE = 0.1, 300.0
WHITE = 255


def check_normalization(
    scale: float, mean: Sequence[float], std: Sequence[float], *, has_scale: bool = True
) -> None:
    """Check that (pixel * scale - mean) / std maps black and white to useful values.

    Args:
        scale: The factor for pixels of 0 to 255.
        mean: Of each channel, in the units of the scaled pixels.
        std: Of each channel, likewise.
        has_scale: Whether the user can choose the scale.

    Raises:
        ExporterError: All images would be nearly equal, or the values far too large;
            the message has the two likely fixes.
    """
    white = WHITE * scale
    if not all(0 < value < float("inf") for value in (scale, *std)):
        raise ExporterError("the scale and the standard deviation must be numbers above 0")
    ranges = [white / value for value in std]
    is_inside = all(abs(value) <= 1.001 * white for value in mean)
    if is_inside and min(ranges) >= _MIN_RANGE and max(ranges) <= _MAX_RANGE:
        return
    low, high = -mean[0] / std[0], (white - mean[0]) / std[0]
    raise ExporterError(
        f"mean {_text(mean)} and std {_text(std)} don't fit pixels of 0 to {white:.4g}: black "
        f"becomes {low:.4g} and white {high:.4g}; {_fixes(scale, mean, std, has_scale)}"
    )


def _fixes(scale: float, mean: Sequence[float], std: Sequence[float], has_scale: bool) -> str:
    """Return the two likely fixes: another scale, or the same numbers in other units."""
    if max(*mean, *std) > 1.5:  # no mean and no std of pixels from 0 to 1 is that large
        factor, other = scale, "1"
    else:
        factor, other = WHITE * scale, "1/255"
    converted = f"--mean {_text(mean, factor)} --std {_text(std, factor)}"
    change = f"--scale {other}" if has_scale else "--preprocess NAME"
    return f"use {converted} for the same in these units, or {change}"


def _text(values: Sequence[float], factor: float = 1.0) -> str:
    texts = [f"{factor * value:.6g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else ",".join(texts)
