"""Golden samples: a few encoded inputs, and what PyTorch says of them."""

from collections.abc import Sequence
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.graph import HEADS, ServableNetwork
from convscope.exporter.parity import run_torch
from convscope.exporter.preprocess import ImagePreprocessing

__all__ = ["golden_arrays", "golden_photos"]


def golden_photos() -> list[bytes]:
    """The encoded photos that ship with the exporter: grey, turned by EXIF, alpha, large."""
    folder = resources.files("convscope.exporter") / "data" / "photos"
    names = sorted(file.name for file in folder.iterdir() if not file.name.endswith(".md"))
    return [(folder / name).read_bytes() for name in names]


def golden_inputs(encoded: Sequence[bytes], preprocessing: ImagePreprocessing) -> NDArray[np.uint8]:
    """Prepare encoded images the reference way; uint8 [n, H, W, C]."""
    return np.stack([preprocessing.prepare(image) for image in encoded])


def golden_arrays(
    network: ServableNetwork, encoded: Sequence[bytes], inputs: NDArray[np.uint8]
) -> dict[str, NDArray[np.generic]]:
    """The arrays of golden.npz.

    Returns:
        `input_0` and so on, the bytes of each image; `logits` and
        `probabilities`, float32 [n, K]; `feature_map_means/NAME`, float32
        [n, channels], small enough to travel and enough to tell a wrong map.
    """
    outputs = run_torch(network, inputs)
    arrays: dict[str, NDArray[np.generic]] = {
        f"input_{index}": np.frombuffer(image, np.uint8) for index, image in enumerate(encoded)
    }
    for name in HEADS:
        arrays[name] = outputs[name]
    for name in network.feature_map_names:
        arrays[f"feature_map_means/{name}"] = outputs[name].mean(axis=(2, 3))
    return arrays
