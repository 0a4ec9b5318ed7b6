"""Deletion and insertion: images that lose or gain their pixels in an order.

After Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box
Models" (2018).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

__all__ = ["STEPS", "Masking", "area", "center_heat", "random_heat"]

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# The pixels change in so many steps of equal size.
STEPS = 32
# What the network normalizes to about zero.
_GRAY = 127
# The standard deviation of the blur, as a share of the shorter side: 11 pixels of 224.
_BLUR = 0.05
_CELLS = 7


@dataclass(frozen=True, slots=True)
class Masking:
    """The masked versions of one photo.

    Args:
        photo: The upright photo, RGB.
        box: The part that the network sees: left, top, right, bottom.
    """

    photo: Image.Image
    box: tuple[int, int, int, int]

    def deleted(self, heat: Floats) -> Iterator[Pixels]:
        """Yield the photo with gray in the place of more and more pixels, the hottest first."""
        gray = Image.new("RGB", self._size, (_GRAY,) * 3)
        return self._steps(heat, self._crop(), np.asarray(gray))

    def inserted(self, heat: Floats) -> Iterator[Pixels]:
        """Yield the blurred photo with more and more sharp pixels, the hottest first."""
        radius = _BLUR * min(self._size)
        blurred = self.photo.crop(self.box).filter(ImageFilter.GaussianBlur(radius))
        return self._steps(heat, np.asarray(blurred), self._crop())

    def _steps(self, heat: Floats, before: Pixels, after: Pixels) -> Iterator[Pixels]:
        """Yield STEPS + 1 whole photos, from one to the other."""
        order = np.argsort(-self._stretched(heat), axis=None, kind="stable")
        left, top, right, bottom = self.box
        crop = before.reshape(-1, 3).copy()
        for step in range(STEPS + 1):
            changed = order[: round(step * order.size / STEPS)]
            crop[changed] = after.reshape(-1, 3)[changed]
            pixels = np.asarray(self.photo).copy()
            pixels[top:bottom, left:right] = crop.reshape(before.shape)
            yield pixels

    @property
    def _size(self) -> tuple[int, int]:
        left, top, right, bottom = self.box
        return right - left, bottom - top

    def _crop(self) -> Pixels:
        return np.asarray(self.photo.crop(self.box))

    def _stretched(self, heat: Floats) -> Floats:
        """Return the heat of each pixel that the network sees, as an overlay shows it."""
        image = Image.fromarray(heat.astype(np.float32))
        stretched = image.resize(self._size, Image.Resampling.BILINEAR)
        return np.asarray(stretched, np.float32)


def area(probabilities: Sequence[float], whole: float) -> float:
    """Return the area under the probabilities of the steps, as shares of that of the photo."""
    return float(np.trapezoid(probabilities, dx=1 / STEPS)) / whole


def center_heat() -> Floats:
    """Return heat that knows only that objects tend to be in the center."""
    position = np.arange(_CELLS) - (_CELLS - 1) / 2
    return np.exp(-(position[:, None] ** 2 + position**2) / (2 * (_CELLS / 4) ** 2)).astype(
        np.float32
    )


def random_heat(random: np.random.Generator) -> Floats:
    """Return heat that knows nothing, as smooth as that of a network's last tensor."""
    return random.random((_CELLS, _CELLS)).astype(np.float32)
