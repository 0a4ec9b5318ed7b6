"""Inputs that show how a network behaves at its limits: constant images and noise."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_constant", "is_noise", "probes"]

Inputs = dict[str, NDArray[np.generic]]
_NOISE, _NOISES = "noise", 5
_SHADES = {"a black image": 0, "a white image": 255, "a gray image": 128}
_CONSTANTS = {*_SHADES, "zeros", "ones"}


def is_constant(description: str) -> bool:
    """Report whether a probe has the same value everywhere."""
    return description in _CONSTANTS


def is_noise(description: str) -> bool:
    """Report whether a probe is noise."""
    return description.startswith(_NOISE)


def probes(shape: tuple[int, ...], *, images: bool) -> Inputs:
    """Return inputs by their description, uint8 [H, W, C] for images and float32 otherwise."""
    random = np.random.default_rng(0)
    if images:
        found: Inputs = {name: np.full(shape, value, np.uint8) for name, value in _SHADES.items()}
        noise: list[NDArray[np.generic]] = [
            random.integers(0, 256, shape, np.uint8) for _ in range(_NOISES)
        ]
    else:
        found = {"zeros": np.zeros(shape, np.float32), "ones": np.ones(shape, np.float32)}
        noise = [random.normal(size=shape).astype(np.float32) for _ in range(_NOISES)]
    return found | {f"{_NOISE} {index + 1}": one for index, one in enumerate(noise)}
