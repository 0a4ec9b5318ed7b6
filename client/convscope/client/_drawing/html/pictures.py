"""Small pictures inside HTML."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.client._drawing.html.parts import escape
from convscope.client._drawing.viridis import channel_levels, viridis

__all__ = ["channels_tag", "photo_tag", "small_png", "thumbnail"]

# Twice the size at which photos are shown, for dense screens, would be four times the bytes.
_WEBP_QUALITY = 80
_TINY = 64
_GAP = 3
# The level of the gaps between channels.
_TRANSPARENT = 255


def thumbnail(photo: Image.Image, side: int) -> Image.Image:
    """Return a copy of a photo whose longer edge is at most `side`."""
    small = photo.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return small


def photo_tag(photo: Image.Image, side: int, alternative: str) -> str:
    """Return an <img> of a photo, shown with a longer edge of `side` pixels.

    Args:
        photo: The photo, of any size.
        side: The longer edge.
        alternative: What it shows, in words.
    """
    small = thumbnail(photo, side)
    out = io.BytesIO()
    if max(photo.size) <= _TINY:  # its pixels are drawn as squares, which need their exact colors
        small.save(out, "PNG")
        return _tag("png", out.getvalue(), _scaled(photo.size, side), alternative, pixelated=True)
    small.save(out, "WEBP", quality=_WEBP_QUALITY)
    return _tag("webp", out.getvalue(), small.size, alternative)


def channels_tag(
    channels: Sequence[NDArray[np.float32]], columns: int, side: int, alternative: str
) -> str:
    """Return an <img> of channels [height, width] side by side, each at most `side` high or wide.

    The picture has one pixel for each cell, and the browser enlarges it.
    """
    step = max(1, math.ceil(max(channels[0].shape) / side))
    tiles = [np.asarray(_levels(channel).reduce(step)) for channel in channels]
    height, width = tiles[0].shape
    factor = max(1, side // max(height, width))
    gap = max(1, round(_GAP / factor))
    rows = math.ceil(len(tiles) / columns)
    shape = rows * (height + gap) - gap, columns * (width + gap) - gap
    sheet = np.full(shape, _TRANSPARENT, np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = np.minimum(tile, _TRANSPARENT - 1)
    picture = Image.fromarray(sheet)
    picture.putpalette(viridis().tobytes())
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True, transparency=_TRANSPARENT)
    size = shape[1] * factor, shape[0] * factor
    return _tag("png", out.getvalue(), size, alternative, pixelated=True)


def _levels(channel: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(channel_levels(channel))


def small_png(picture: Image.Image) -> bytes:
    """Return a drawn picture as PNG with 256 colors."""
    out = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(out, "PNG", optimize=True)
    return out.getvalue()


def _scaled(size: tuple[int, int], side: int) -> tuple[int, int]:
    factor = max(1, side // max(size))
    return size[0] * factor, size[1] * factor


def _tag(
    kind: str, data: bytes, size: tuple[int, int], alternative: str, *, pixelated: bool = False
) -> str:
    encoded = base64.b64encode(data).decode()
    style = "display:block;margin:0;max-width:none;border-radius:3px"
    if pixelated:
        style += ";image-rendering:pixelated"
    return (
        f'<img src="data:image/{kind};base64,{encoded}" width="{size[0]}" height="{size[1]}" '
        f'alt="{escape(alternative)}" style="{style}">'
    )
