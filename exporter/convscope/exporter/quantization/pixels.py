"""Lets the first layer take pixels: the normalization moves into its weights.

A quantized graph spends a fifth of its time on the subtraction and the division before the
first layer. Once they are part of its weights, the pixels themselves are the quantized input.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from convscope.exporter.quantization.layers import set_initializer

__all__ = ["PixelInput", "fold_normalization"]

_CHAIN = ("Cast", "Sub", "Div", "Conv")


@dataclass(frozen=True, slots=True)
class PixelInput:
    """The input of a first layer that takes pixels.

    Args:
        pixels: The tensor of the pixels, uint8 [N, C, H, W].
        centered: The tensor of the pixels minus the zero point, float32.
        zero_point: The pixel value that stands for zero.
    """

    pixels: str
    centered: str
    zero_point: int

    @property
    def override(self) -> dict[str, Any]:
        """The scale and the zero point of the centered pixels."""
        return {
            self.centered: [
                {
                    "scale": np.array(1, np.float32),
                    "zero_point": np.array(self.zero_point, np.uint8),
                    "quant_type": _uint8(),
                }
            ]
        }

    def connect(self, model: onnx.ModelProto) -> None:
        """Make the pixels the quantized input of the first layer, in a quantized graph."""
        graph = model.graph
        quantize = next(node for node in graph.node if node.input[0] == self.centered)
        dequantize = next(node for node in graph.node if node.input[0] == quantize.output[0])
        dequantize.input[0] = self.pixels
        removed = {self.centered, quantize.output[0]}
        subtract = next(node for node in graph.node if node.output[0] == self.centered)
        removed.add(subtract.input[0])
        kept = [node for node in graph.node if removed.isdisjoint(node.output)]
        del graph.node[:]
        graph.node.extend(kept)


def fold_normalization(model: onnx.ModelProto) -> PixelInput | None:
    """Move the normalization of pixels into the first layer.

    The zero point is one number for all channels, so pixels at the border, where zeros are
    padded, change a little if the channels have different means.

    Args:
        model: The prepared graph, which is changed in place.

    Returns:
        The new input of the first layer; None if the graph normalizes in another way.
    """
    chain = _find_chain(model.graph)
    if chain is None:
        return None
    cast, subtract, divide, conv = chain
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    operands = [stored.get(node.input[1]) for node in (subtract, divide)]
    weight, bias = (stored.get(name) for name in conv.input[1:])
    if weight is None or bias is None:
        return None
    mean, std = (_per_channel(values, weight.shape[1]) for values in operands)
    if mean is None or std is None or weight.ndim != 4:
        return None
    zero_point = int(np.clip(np.round(mean.mean() + 1e-6), 0, 255))
    scaled = weight / std[np.newaxis, :, np.newaxis, np.newaxis]
    shift = (scaled * (mean - zero_point)[np.newaxis, :, np.newaxis, np.newaxis]).sum((1, 2, 3))
    set_initializer(model, conv.input[1], scaled.astype(np.float32))
    set_initializer(model, conv.input[2], (bias - shift).astype(np.float32))
    subtract.input[1] = "pixels/zero_point"
    set_initializer(model, subtract.input[1], np.array(zero_point, np.float32))
    conv.input[0] = subtract.output[0]
    model.graph.node.remove(divide)
    return PixelInput(cast.input[0], subtract.output[0], zero_point)


def _find_chain(graph: onnx.GraphProto) -> list[onnx.NodeProto] | None:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    for start in graph.node:
        chain = [start]
        while len(chain) < len(_CHAIN):
            name = chain[-1].output[0]
            following = readers.get(name, [])
            if len(following) != 1 or name in outputs:
                break
            chain.append(following[0])
        if tuple(node.op_type for node in chain) == _CHAIN:
            return chain
    return None


def _per_channel(values: NDArray[np.generic] | None, channels: int) -> NDArray[np.float64] | None:
    """Return one number for each channel, if the constant has that form."""
    if values is None or values.size not in (1, channels):
        return None
    if values.size == channels > 1 and (values.ndim < 3 or values.shape[-3] != channels):
        return None
    return np.broadcast_to(values.reshape(-1).astype(np.float64), channels)


def _uint8() -> Any:
    from onnxruntime.quantization import QuantType

    return QuantType.QUInt8
