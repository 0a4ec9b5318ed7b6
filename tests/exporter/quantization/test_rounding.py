"""Weights are rounded so that a layer's outputs change little, and their mean not at all."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convscope.exporter.quantization.bias import corrected_bias
from convscope.exporter.quantization.layers import Layer, layers_of, prepare
from convscope.exporter.quantization.patches import sample_patches
from convscope.exporter.quantization.ranges import TensorRange
from convscope.exporter.quantization.rounding import round_weights, weight_scales
from convscope.exporter.quantization.statistics import LayerInputs

OUTPUTS = 6
CHANNELS = 4


def graph(
    kind: str, weight: NDArray[np.float32], shape: list[int], **attributes: Any
) -> onnx.ModelProto:
    rank = len(shape)
    return helper.make_model(
        helper.make_graph(
            [helper.make_node(kind, ["x", "w"], ["y"], **attributes)],
            "layer",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * (rank + 1))],
            [numpy_helper.from_array(weight, "w")],
        ),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 20)],
    )


LAYERS: dict[str, tuple[str, tuple[int, ...], list[int], dict[str, Any]]] = {
    "convolution": ("Conv", (OUTPUTS, CHANNELS, 3, 3), [CHANNELS, 9, 8], {"pads": [1, 1, 1, 1]}),
    "strided, dilated": (
        *("Conv", (OUTPUTS, CHANNELS, 3, 3), [CHANNELS, 12, 11]),
        {"strides": [2, 1], "dilations": [1, 2]},
    ),
    "depthwise": ("Conv", (CHANNELS, 1, 3, 3), [CHANNELS, 9, 9], {"group": CHANNELS}),
    "groups": ("Conv", (OUTPUTS, CHANNELS // 2, 3, 3), [CHANNELS, 9, 9], {"group": 2}),
    "same padding": (
        *("Conv", (OUTPUTS, CHANNELS, 4, 4), [CHANNELS, 9, 9]),
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    ),
    "signal": ("Conv", (OUTPUTS, CHANNELS, 5), [CHANNELS, 40], {}),
    "dense": ("Gemm", (OUTPUTS, 20), [20], {"transB": 1}),
    "dense, transposed": ("Gemm", (20, OUTPUTS), [20], {}),
}


@pytest.fixture(params=LAYERS)
def case(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, Layer, NDArray[np.float32]]:
    kind, weight_shape, shape, attributes = LAYERS[request.param]
    random = np.random.default_rng(0)
    weight = random.normal(size=weight_shape).astype(np.float32)
    model = graph(kind, weight, shape, **attributes)
    prepare(model)
    (layer,) = layers_of(model)
    mixing = random.normal(size=(shape[0], shape[0])) + 2  # correlated channels, mean not zero
    raw = np.abs(random.normal(size=(40, *shape)))
    inputs = np.einsum("ij,nj...->ni...", mixing, raw).astype(np.float32)
    return model, layer, inputs


def all_inputs(layer: Layer, inputs: NDArray[np.float32]) -> LayerInputs:
    seen = LayerInputs(layer)
    seen.add(sample_patches(layer, inputs, np.random.default_rng(0)))
    return seen


def outputs(
    model: onnx.ModelProto,
    layer: Layer,
    rows: NDArray[np.float64],
    bias: NDArray[np.float32],
    x: NDArray[np.float32],
) -> NDArray[np.float32]:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        value = layer.stored(rows) if tensor.name == layer.node.input[1] else bias
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    (found,) = ReferenceEvaluator(copy).run(None, {"x": x})
    return np.asarray(found, np.float32)


def test_patches_times_weights_are_the_outputs(
    case: tuple[onnx.ModelProto, Layer, NDArray[np.float32]],
) -> None:
    model, layer, inputs = case
    one = inputs[:1]
    patches = sample_patches(layer, one, np.random.default_rng(0))  # [groups, n, K]
    rows = layer.rows.reshape(layer.groups, -1, layer.rows.shape[1])
    found = np.einsum("gnk,gok->ngo", patches, rows).reshape(patches.shape[1], -1)
    expected = outputs(model, layer, layer.rows, layer.bias, one)
    flat = np.moveaxis(expected, 1, -1).reshape(-1, len(layer.weight))
    for row in found:  # each sampled patch is one of the positions
        assert np.abs(flat - row).max(axis=1).min() < 1e-3


def test_rounded_weights_are_multiples_and_change_the_outputs_less(
    case: tuple[onnx.ModelProto, Layer, NDArray[np.float32]],
) -> None:
    model, layer, inputs = case
    seen = all_inputs(layer, inputs)
    nearest, rounded = round_weights(layer, None), round_weights(layer, seen.moments)
    steps = rounded / weight_scales(layer)[:, np.newaxis]
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert np.abs(steps).max() <= 127 + 1e-6
    expected = outputs(model, layer, layer.rows, layer.bias, inputs)
    errors = [
        np.square(outputs(model, layer, rows, layer.bias, inputs) - expected).mean()
        for rows in (rounded, nearest)
    ]
    assert errors[0] < errors[1]


def test_the_corrected_bias_keeps_the_mean_of_each_output(
    case: tuple[onnx.ModelProto, Layer, NDArray[np.float32]],
) -> None:
    model, layer, inputs = case
    seen = all_inputs(layer, inputs)
    coarse = np.rint(layer.rows * 4) / 4  # a far larger shift than that of 8 bits
    expected = outputs(model, layer, layer.rows, layer.bias, inputs)
    axes = tuple(axis for axis in range(expected.ndim) if axis != 1)
    shifts = [
        np.abs((outputs(model, layer, coarse, bias, inputs) - expected).mean(axis=axes)).max()
        for bias in (corrected_bias(layer, coarse, seen), layer.bias)
    ]
    assert shifts[0] < 0.2 * shifts[1]


def test_a_range_leaves_out_the_outermost_values() -> None:
    values = np.random.default_rng(0).normal(size=(20, 50_000)).astype(np.float32)
    found = TensorRange(len(values))
    for start in range(0, len(values), 3):
        found.add(values[start : start + 3])
    ordered = np.sort(values.reshape(-1))
    assert found.range == (ordered[5], ordered[-6])  # 0.0005% of a million at either end
    few = TensorRange(2)
    few.add(values[:2, :100])
    assert few.range == (values[:2, :100].min(), values[:2, :100].max())
