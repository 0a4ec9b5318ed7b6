"""The inputs of a layer's outputs: patches of a convolution, rows of a dense layer."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from convscope.exporter.graphs.static_graph import attribute
from convscope.exporter.quantization.layers import Layer

__all__ = ["sample_patches"]

# Neighboring patches are almost equal, so a sample says as much as all of them.
PATCHES_PER_INPUT = 64


def sample_patches(
    layer: Layer, values: NDArray[np.float32], random: np.random.Generator
) -> NDArray[np.float32]:
    """Return some of the inputs of a layer's outputs, [groups, n, inputs of an output].

    Args:
        layer: The layer.
        values: The values of its input for some inputs of the network, [N, channels, ...].
        random: Chooses the positions.
    """
    if layer.node.op_type == "Gemm":
        return values.reshape(1, len(values), -1)
    windows = _windows(layer, values)  # [N, channels, positions..., kernel...]
    dimensions = values.ndim - 2
    sizes = (len(values), *windows.shape[2 : 2 + dimensions])
    count = min(PATCHES_PER_INPUT * len(values), math.prod(sizes))
    chosen = np.unravel_index(random.choice(math.prod(sizes), count, replace=False), sizes)
    patches = windows[(chosen[0], slice(None), *chosen[1:])]  # [n, channels, kernel...]
    grouped = patches.reshape(count, layer.groups, -1)
    return np.ascontiguousarray(grouped.transpose(1, 0, 2))


def _windows(layer: Layer, values: NDArray[np.float32]) -> NDArray[np.float32]:
    kernel = layer.weight.shape[2:]
    ones = [1] * len(kernel)
    strides = attribute(layer.node, "strides", ones)
    dilations = attribute(layer.node, "dilations", ones)
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    pads = _pads(layer, values.shape[2:], spans, strides)
    padded = np.pad(values, [(0, 0), (0, 0), *pads])
    windows = sliding_window_view(padded, spans, axis=tuple(range(2, padded.ndim)))
    return windows[
        (
            slice(None),
            slice(None),
            *(slice(None, None, step) for step in strides),
            *(slice(None, None, step) for step in dilations),
        )
    ]


def _pads(
    layer: Layer, sizes: tuple[int, ...], spans: list[int], strides: list[int]
) -> list[tuple[int, int]]:
    mode = attribute(layer.node, "auto_pad", b"NOTSET").decode()
    if mode.startswith("SAME"):
        found = []
        for size, span, stride in zip(sizes, spans, strides, strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + span - size, 0)
            small, large = total // 2, total - total // 2
            found.append((small, large) if mode == "SAME_UPPER" else (large, small))
        return found
    flat = attribute(layer.node, "pads", [0] * (2 * len(spans)))
    return list(zip(flat[: len(spans)], flat[len(spans) :], strict=True))
