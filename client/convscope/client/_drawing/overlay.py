"""Heat over a photo, at the place that it explains."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from convscope.client._drawing.heat_colors import heat_colors, heat_levels
from convscope.client._results.image_crop import Box

__all__ = ["paint_heat"]

_DIMMED = 0.35
# Gray, so that the colors of the photo aren't mistaken for heat. Neither black nor white,
# because heat isn't visible there.
_DARKEST, _BRIGHTEST = 60, 225


def paint_heat(
    photo: Image.Image,
    heat: NDArray[np.float32],
    box: Box,
    *,
    limit: float,
    opacity: float,
    dims_outside: bool,
) -> Image.Image:
    """Stretch heat over a part of an upright RGB photo.

    Args:
        photo: The photo.
        heat: float32 [height, width].
        box: The part.
        limit: The heat of the strongest color.
        opacity: The opacity of the strongest color, from 0 to 1.
        dims_outside: Whether the rest of the photo is darker.
    """
    outside = ImageEnhance.Brightness(photo).enhance(_DIMMED) if dims_outside else photo.copy()
    left, top, right, bottom = box
    gray = photo.crop(box).convert("L")
    inside = gray.point([_gray(value) for value in range(256)]).convert("RGB")
    levels = Image.fromarray(heat_levels(heat, limit))
    size = right - left, bottom - top
    stretched = np.asarray(levels.resize(size, Image.Resampling.BILINEAR))  # uint8 [height, width]
    colored = Image.fromarray(heat_colors(opacity)[stretched])  # RGBA
    inside.paste(colored.convert("RGB"), mask=colored.getchannel("A"))
    outside.paste(inside, (left, top))
    return outside


def _gray(value: int) -> int:
    return round(_DARKEST + value * (_BRIGHTEST - _DARKEST) / 255)
