"""A network in FP32, its calibration, and the quantized graphs that follow from both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.errors import ExporterError
from convscope.exporter.quantization.bias import corrected_bias
from convscope.exporter.quantization.layers import (
    Layer,
    float_nodes,
    float_tail,
    layers_of,
    prepare,
)
from convscope.exporter.quantization.pixels import PixelInput, fold_normalization
from convscope.exporter.quantization.qdq import Rounded, quantize_graph
from convscope.exporter.quantization.ranges import Range
from convscope.exporter.quantization.rounding import round_weights
from convscope.exporter.quantization.statistics import gather

__all__ = ["CalibratedNetwork", "calibrate"]


@dataclass(frozen=True, slots=True)
class CalibratedNetwork:
    """A network with everything that its quantized graphs need.

    Args:
        model: The prepared graph in FP32.
        layers: The layers that can be quantized, from the input on.
        rounded: The rounded weights and the bias of each of them, by its name.
        ranges: The range of each tensor.
        pixels: The input of a first layer that takes pixels; None if it doesn't.
        tail: The nodes that stay in FP32 in any case.
        outputs: The names of the graph's own outputs.
    """

    model: onnx.ModelProto
    layers: Sequence[Layer]
    rounded: Mapping[str, Rounded]
    ranges: Mapping[str, Range]
    pixels: PixelInput | None
    tail: Sequence[str]
    outputs: Sequence[str]

    def quantized(self, fp32_layers: int = 0) -> onnx.ModelProto:
        """Return the graph with everything quantized but the first layers.

        Args:
            fp32_layers: How many layers stay in FP32, from the input on.
        """
        first = float_nodes(self.model, self.layers, fp32_layers)
        pixels = self.pixels if not fp32_layers else None
        overrides: dict[str, Any] = {} if pixels is None else pixels.override
        layers = self.layers[fp32_layers:]
        excluded = [*first, *self.tail]
        model = quantize_graph(self.model, self.rounded, layers, self.ranges, excluded, overrides)
        if pixels is not None:
            pixels.connect(model)
        kept = [value for value in model.graph.output if value.name in self.outputs]
        del model.graph.output[:]
        model.graph.output.extend(kept)
        return model


def calibrate(
    model: onnx.ModelProto, inputs: NDArray[np.generic], explained: str | None = None
) -> CalibratedNetwork:
    """Measure the ranges and round the weights of a network.

    Args:
        model: The graph in FP32 without explanation, which is changed in place.
        inputs: The calibration inputs, [n, ...].
        explained: The tensor by which the classes are explained. What follows it stays in FP32,
            because the heat is its derivative. These are the pooling and the last layer of most
            networks, which take almost no time.

    Raises:
        ExporterError: The network has no layer that can be quantized.
    """
    outputs = [value.name for value in model.graph.output]
    prepare(model)
    tail: list[str] = []
    if explained is not None:
        tail = float_tail(model, explained)
        if explained not in outputs:  # only outputs keep their names
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(explained, onnx.TensorProto.FLOAT, None)
            )
    pixels = fold_normalization(model)
    layers = [layer for layer in layers_of(model) if layer.node.name not in tail]
    if not layers:
        raise ExporterError(
            "the network has no convolution or dense layer with stored weights that could be "
            "quantized"
        )
    found = gather(model, layers, inputs)
    rounded = {}
    for layer in layers:
        seen = found.inputs[layer.name]
        rows = round_weights(layer, seen.moments)
        rounded[layer.name] = (rows, corrected_bias(layer, rows, seen))
    return CalibratedNetwork(model, layers, rounded, found.ranges, pixels, tail, outputs)
