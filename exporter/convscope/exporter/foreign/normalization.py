"""The pixel normalization that a foreign graph expects."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Normalization"]


@dataclass(frozen=True, slots=True)
class Normalization:
    """The normalization (pixel * scale - mean) / std.

    Args:
        scale: The factor for pixels of 0 to 255.
        mean: For each channel, in the graph's own order.
        std: For each channel, in the graph's own order.
        bgr: Whether that order is blue, green, red.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool

    @property
    def is_identity(self) -> bool:
        """Whether pixels are left unchanged."""
        return self.scale == 1 and not any(self.mean) and set(self.std) == {1}

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalize uint8 [n, H, W, C], in double precision; return float32 [n, H, W, C]."""
        channels = images[..., ::-1] if self.bgr else images
        normal = (channels * np.float64(self.scale) - np.array(self.mean)) / np.array(self.std)
        return np.asarray(normal, dtype=np.float32)
