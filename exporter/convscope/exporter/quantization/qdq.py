"""Writes rounded weights, corrected biases and ranges into a graph, with ONNX Runtime's quantizer.

The result is in the QDQ format: pairs of QuantizeLinear and DequantizeLinear, which every
execution provider with integer kernels understands, and which the others compute in FP32.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from convscope.exporter.quantization.layers import Layer, set_initializer
from convscope.exporter.quantization.ranges import Range
from convscope.exporter.quantization.rounding import weight_scales

__all__ = ["OPERATORS", "Rounded", "quantize_graph"]

# Operators with integer kernels, and those that only move values. Each other operator would
# cost two conversions.
OPERATORS = (
    *("Conv", "Gemm", "Add", "Relu", "Clip"),
    *("MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Reshape", "Flatten", "Concat", "Transpose"),
)

Rounded = tuple[NDArray[np.float64], NDArray[np.float32]]
"""The rounded weights of a layer, [outputs, K], and its corrected bias, [outputs]."""


def quantize_graph(
    model: onnx.ModelProto,
    rounded: Mapping[str, Rounded],
    layers: Sequence[Layer],
    ranges: Mapping[str, Range],
    excluded: Sequence[str],
    overrides: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """Return a quantized copy of a prepared graph.

    Args:
        model: The graph in FP32.
        rounded: The rounded weights and the bias of each quantized layer, by its name.
        layers: The quantized layers.
        ranges: The range of each tensor.
        excluded: The names of the nodes that stay in FP32.
        overrides: The scale and the zero point of tensors whose range isn't measured.
    """
    copy = _with_rounded(model, rounded, layers)
    scales = {layer.node.input[1]: _channel_scales(layer) for layer in layers}
    quantizer = QDQQuantizer(
        onnx.shape_inference.infer_shapes(copy),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        # With signed activations, ONNX Runtime's CPU kernels run at half the speed.
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()},
        ),
        nodes_to_quantize=[],
        nodes_to_exclude=list(excluded),
        op_types_to_quantize=list(OPERATORS),
        extra_options={
            "TensorQuantOverrides": {**scales, **(overrides or {})},
            # Logits of 8 bits would often be equal.
            "OpTypesToExcludeOutputQuantization": ["Gemm"],
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    found: onnx.ModelProto = quantizer.model.model
    del found.graph.value_info[:]
    return found


def _with_rounded(
    model: onnx.ModelProto, rounded: Mapping[str, Rounded], layers: Sequence[Layer]
) -> onnx.ModelProto:
    """Copy a graph with the rounded weights and the corrected biases of its layers."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for layer in layers:
        rows, bias = rounded[layer.name]
        set_initializer(copy, layer.node.input[1], layer.stored(rows))
        set_initializer(copy, layer.node.input[2], bias)
    return copy


def _channel_scales(layer: Layer) -> list[dict[str, Any]]:
    """Return the scales by which the weights were rounded, for ONNX Runtime's quantizer."""
    return [
        {
            "axis": 1 if layer.transposed else 0,
            "quant_type": QuantType.QInt8,
            "scale": np.array(scale, np.float32),
            "zero_point": np.array(0, np.int8),
        }
        for scale in weight_scales(layer)
    ]
