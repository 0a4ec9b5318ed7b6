"""Golden samples: a few inputs, encoded if they are images, and PyTorch's outputs for them."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.bundle.golden import golden_arrays
from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.graphs.sessions import Arrays
from convscope.exporter.preprocessing import ImagePreprocessing, InputRule

__all__ = [
    "GoldenInput",
    "encode_png",
    "golden_inputs",
    "golden_noise",
    "reference_arrays",
]

# An encoded image, or a float32 tensor of the graph's input without the batch.
GoldenInput = bytes | NDArray[np.float32]
NOISE_INPUTS = 3


def golden_noise(expects: InputRule) -> list[GoldenInput]:
    """Return reproducible noise, for networks that have no meaningful inputs.

    Images have exactly the size that the network takes. The classes of a network
    with random weights are so close that another decoder's rounding of a single
    pixel may change the best one.
    """
    random = np.random.default_rng(0)
    if isinstance(expects, ImagePreprocessing):
        target = expects.width, expects.height
        # The size that the rule leaves as it is; of a square for a rule that keeps the ratio.
        width, height = expects.resize_rule.size(target if expects.pads else (1, 1), target)
        shape = (NOISE_INPUTS, height, width, expects.channels)
        return [encode_png(pixels) for pixels in random.integers(0, 256, shape, np.uint8)]
    return list(random.normal(size=(NOISE_INPUTS, *expects.shape)).astype(np.float32))


def golden_inputs(golden: Sequence[GoldenInput], expects: InputRule) -> NDArray[np.generic]:
    """Prepare golden inputs for the graph, images by the reference; return [n, ...]."""
    return np.stack([_prepare(one, expects) for one in golden])


def reference_arrays(
    network: ServableNetwork,
    golden: Sequence[GoldenInput],
    outputs: Arrays,
    heat: NDArray[np.float32] | None = None,
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of golden.npz, with PyTorch's outputs as the reference.

    Args:
        network: The network.
        golden: The golden inputs, images encoded.
        outputs: PyTorch's outputs for them.
        heat: The reference heat of their best classes, if the graph explains classes.
    """
    names = (*network.heads, *network.feature_map_names)
    return golden_arrays(golden, {name: outputs[name] for name in names}, heat)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an image, uint8 [H, W, 1 or 3], as PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(out, "PNG")
    return out.getvalue()


def _prepare(one: GoldenInput, expects: InputRule) -> NDArray[np.generic]:
    return expects.prepare(one) if isinstance(one, bytes) else one
