"""Corrects the bias of each layer, so that rounded weights don't shift its mean outputs.

Nagel et al. 2019, Data-free quantization: the shift is the change of the weights times the
mean of the inputs, which calibration measures.
"""

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.quantization.layers import Layer
from convscope.exporter.quantization.statistics import LayerInputs

__all__ = ["corrected_bias"]


def corrected_bias(
    layer: Layer, rounded: NDArray[np.float64], inputs: LayerInputs
) -> NDArray[np.float32]:
    """Return the corrected bias of a layer, float32 [outputs].

    Args:
        layer: The layer with its own weights.
        rounded: The rounded weights, [outputs, inputs of an output].
        inputs: The statistics of its inputs.
    """
    means = np.repeat(inputs.means, len(rounded) // layer.groups, axis=0)  # [outputs, K]
    shift = ((rounded - layer.rows) * means).sum(axis=1)
    return np.asarray(layer.bias - shift, np.float32)
