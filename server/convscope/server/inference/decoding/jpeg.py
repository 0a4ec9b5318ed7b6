"""Sets the scale at which Pillow decodes a JPEG."""

import math

from PIL.JpegImagePlugin import JpegImageFile

__all__ = ["decode_scale", "set_decode_scale"]

# A JPEG is decoded at least this many times finer than the result. Measured before the
# rounding to whole levels, which itself costs 0.29 (rms): at 2.9 times, pixels move by
# 0.16 to 0.26 levels, and by up to 0.39 in strong noise. At 2.05 times they move by up to
# 0.48 and 0.80, and the probabilities of an undecided network by up to 0.06.
MIN_DECODE_OVERSAMPLING = 2.8
_SCALES = (8, 4, 2)


def decode_scale(size: tuple[int, int], finest: float, *, uneven_chroma: bool) -> int:
    """Return the coarsest scale that is fine enough.

    The scale of a photo doesn't depend on its orientation.

    Args:
        size: The width and height of the JPEG.
        finest: The size of the result, relative to the part of the image that it shows.
        uneven_chroma: Whether a channel is subsampled in one direction only, as in 4:2:2.
            Decoding to scale subsamples it once more, in both directions.

    Returns:
        How many original pixels one decoded pixel represents, in each direction: 1, 2, 4 or 8.
    """
    needed = finest * MIN_DECODE_OVERSAMPLING * (2 if uneven_chroma else 1)
    if needed >= 1:
        return 1
    largest = min(side // math.ceil(side * needed) for side in size)
    return next((scale for scale in _SCALES if scale <= largest), 1)


def set_decode_scale(image: JpegImageFile, scale: int) -> None:
    """Decode a JPEG at a scale; it is open and not decoded yet."""
    width, height = image.size
    image.draft(None, (max(width // scale, 1), max(height // scale, 1)))
