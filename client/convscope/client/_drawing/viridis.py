"""Viridis, dark to bright in even perceptual steps, and channels in its colors."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["channel_levels", "viridis", "viridis_palette"]

PERCENTILES = (1, 99)
ANCHORS = (
    (68, 1, 84),
    (71, 44, 122),
    (59, 81, 139),
    (44, 113, 142),
    (33, 144, 141),
    (39, 173, 129),
    (92, 200, 99),
    (170, 220, 50),
    (253, 231, 37),
)


@cache
def viridis() -> NDArray[np.uint8]:
    """Return the color of each of 256 levels, uint8 [256, 3]."""
    anchors = np.array(ANCHORS, np.float64)
    points = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(points, range(len(anchors)), anchors[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


@cache
def viridis_palette() -> bytes:
    """Return the same colors as the palette of an image."""
    return viridis().tobytes()


def channel_levels(channels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return channels, [..., height, width], each scaled from its 1st to its 99th percentile."""
    low, high = np.percentile(channels, PERCENTILES, axis=(-2, -1), keepdims=True)
    is_flat = ~(high > low)  # almost: keep a single peak visible
    if is_flat.any():
        low = np.where(is_flat, channels.min((-2, -1), keepdims=True), low)
        high = np.where(is_flat, channels.max((-2, -1), keepdims=True), high)
    scaled = channels - low
    scaled *= 255 / np.where(high > low, high - low, 1.0)
    levels: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return levels
