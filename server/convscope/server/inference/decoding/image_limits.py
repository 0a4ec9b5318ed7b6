"""The limits of one image, which the settings set."""

from dataclasses import dataclass

__all__ = ["ImageLimits"]


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The largest image size that is decoded, by the size in the image's header."""

    max_pixels: int
    max_side: int
