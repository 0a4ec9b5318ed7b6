"""Lets the first layer take pixels: the normalization moves into its weights.

A quantized graph spends a fifth of its time on the subtraction and the division before the
first layer. Once they are part of its weights, the pixels themselves are the quantized input.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import QuantType

from convscope.exporter.quantization.layers import set_initializer

__all__ = ["PixelInput", "fold_normalization"]

_CHAINS = (("Cast", "Sub", "Div", "Conv"), ("Cast", "Div", "Conv"), ("Cast", "Sub", "Conv"))
_ZERO_POINT = "pixels/zero_point"
_IMAGE_RANK = 4


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
                    "quant_type": QuantType.QUInt8,
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
        before = next(node for node in graph.node if node.output[0] == self.centered)
        if before.input[0] != self.pixels:  # a subtraction, and the conversion before it
            removed.add(before.input[0])
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
    cast, conv, steps = chain[0], chain[-1], {node.op_type: node for node in chain[1:-1]}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weight, bias = (stored.get(name) for name in conv.input[1:])
    if weight is None or bias is None or weight.ndim != _IMAGE_RANK:
        return None
    mean = _per_channel(stored, steps.get("Sub"), weight.shape[1], 0.0)
    std = _per_channel(stored, steps.get("Div"), weight.shape[1], 1.0)
    if mean is None or std is None:
        return None
    zero_point = int(np.clip(np.rint(mean.mean()), 0, 255))
    scaled = weight / std[:, np.newaxis, np.newaxis]  # [outputs, channels, height, width]
    shift = (scaled * (mean - zero_point)[:, np.newaxis, np.newaxis]).sum(axis=(1, 2, 3))
    set_initializer(model, conv.input[1], scaled.astype(np.float32))
    set_initializer(model, conv.input[2], (bias - shift).astype(np.float32))
    if (subtract := steps.get("Sub")) is not None:
        subtract.input[1] = _ZERO_POINT
        set_initializer(model, _ZERO_POINT, np.array(zero_point, np.float32))
    conv.input[0] = cast.output[0] if subtract is None else subtract.output[0]
    if "Div" in steps:
        model.graph.node.remove(steps["Div"])
    return PixelInput(cast.input[0], conv.input[0], zero_point)


def _find_chain(graph: onnx.GraphProto) -> list[onnx.NodeProto] | None:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    for start in graph.node:
        chain = [start]
        while chain[-1].op_type != "Conv":
            name = chain[-1].output[0]
            following = readers.get(name, [])
            if len(following) != 1 or name in outputs or len(chain) == len(_CHAINS[0]):
                break
            chain.append(following[0])
        if tuple(node.op_type for node in chain) in _CHAINS:
            return chain
    return None


def _per_channel(
    stored: Mapping[str, NDArray[Any]], node: onnx.NodeProto | None, channels: int, neutral: float
) -> NDArray[np.float64] | None:
    """Return one number for each channel, if the constant of a node has that form."""
    if node is None:
        return np.full(channels, neutral)
    values = stored.get(node.input[1])
    if values is None or values.size not in (1, channels):
        return None
    if values.size > 1 and (values.ndim < 3 or values.shape[-3] != channels):
        return None
    return np.broadcast_to(values.reshape(-1).astype(np.float64), channels)
