"""The colors of signed heat.

Orange speaks for a class, and blue against it. People with any kind of color blindness
can distinguish the two (Okabe and Ito 2008).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEUTRAL", "heat_colors", "heat_levels"]

NEUTRAL = 127
"""The level of zero; 0 is the strongest heat against, and 254 the strongest for."""
# Each from weak to strong. Strong heat is also darker, because gray copies have no hue.
_FOR = ((255, 214, 102), (250, 140, 30), (220, 60, 0))
_AGAINST = ((150, 215, 255), (60, 145, 235), (0, 70, 190))


def heat_levels(heat: NDArray[np.float32], limit: float) -> NDArray[np.uint8]:
    """Return heat of any shape as levels; heat beyond the limit has the strongest."""
    scaled = np.clip(heat / limit, -1, 1) if limit > 0 else np.zeros_like(heat)
    return np.rint(NEUTRAL + NEUTRAL * scaled).astype(np.uint8)


@cache
def heat_colors(opacity: float) -> NDArray[np.uint8]:
    """Return the color and the opacity of each level, uint8 [256, 4].

    Heat of zero is transparent, and the strongest has the given opacity, from 0 to 1.
    """
    strength = np.clip(np.abs(np.arange(256) - NEUTRAL) / NEUTRAL, 0, 1)
    colors = np.empty((256, 4))
    for side, anchors in ((slice(0, NEUTRAL + 1), _AGAINST), (slice(NEUTRAL, 256), _FOR)):
        points = np.linspace(0, 1, len(anchors))
        for channel in range(3):
            values = [anchor[channel] for anchor in anchors]
            colors[side, channel] = np.interp(strength[side], points, values)
    colors[:, 3] = 255 * opacity * strength
    return np.rint(colors).astype(np.uint8)
