"""Classifiers whose last cut tensor is followed by one operator, made in milliseconds.

The operator is on one path, and a mean over the positions on another, so that the
tensor `x` before both is the last that every path crosses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convscope.exporter.graphs.sessions import feed_session, open_graph

CHANNELS, HEIGHT, WIDTH = 4, 5, 6
CLASSES = 3


Node = tuple[str, list[str], list[str], Mapping[str, Any]]
"""An operator, its inputs, its outputs and its attributes."""


@dataclass(frozen=True)
class Case:
    """An operator after the tensor `x`, float32 [N, 4, 5, 6].

    Args:
        nodes: The nodes from `x` to `y`, as (operator, inputs, outputs, attributes).
        constants: Their constants; floats become float32, integers int64.
        opset: The version of the standard operators.
        step: The step of the differences in float64; larger for an operator that the
            evaluator computes in float32.
    """

    nodes: Sequence[Node]
    constants: Mapping[str, ArrayLike] = field(default_factory=dict)
    opset: int = 22
    step: float = 1e-6


def one(kind: str, *inputs: str, **attributes: Any) -> Case:
    """Return the case of one node that reads `x`."""
    return Case([(kind, ["x", *inputs], ["y"], attributes)])


def random_values(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def classifier(case: Case) -> onnx.ModelProto:
    """Return the graph: images to logits and probabilities."""
    constants = {name: _array(value) for name, value in case.constants.items()}
    constants["filters"] = random_values(CHANNELS, 3, 3, 3) / 4
    constants["mean_weights"] = random_values(CHANNELS, CLASSES, seed=1)
    size = _output_size(case, constants)
    constants["dense"] = random_values(size, CLASSES, seed=2)
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "hundredth"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "filters"], ["x"]),
        *_head(case),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants["hundredth"] = np.array(0.01, np.float32)
    images = helper.make_tensor_value_info(
        "images", TensorProto.UINT8, ["batch", HEIGHT + 2, WIDTH + 2, 3]
    )
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", CLASSES])
        for name in ("logits", "probabilities")
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "classifier", [images], outputs, weights)
    opset = helper.make_opsetid("", case.opset)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)


def images(count: int = 3) -> NDArray[np.uint8]:
    shape = (count, HEIGHT + 2, WIDTH + 2, 3)
    return np.random.default_rng(5).integers(0, 256, shape).astype(np.uint8)


def channel_weights(
    case: Case, tensor: NDArray[np.float32], classes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean gradient of each channel, [N, T, channels], by small steps in float64.

    The evaluator of the onnx package runs the head; it shares no code with ONNX Runtime.
    """
    head = _reference_head(case)
    step = case.step
    weights = np.zeros((*classes.shape, tensor.shape[1]))
    for channel in range(tensor.shape[1]):
        values = []
        for sign in (1, -1):
            moved = tensor.astype(np.float64)
            moved[:, channel] += sign * step
            (logits,) = head.run(None, {"x": moved})
            values.append(np.asarray(logits))
        change = np.take_along_axis(values[0] - values[1], classes, axis=1)
        weights[:, :, channel] = change / (2 * step * HEIGHT * WIDTH)
    return weights


def _reference_head(case: Case) -> ReferenceEvaluator:
    model = classifier(case)
    weights = {
        tensor.name: numpy_helper.to_array(tensor).astype(np.float64)
        if tensor.data_type == TensorProto.FLOAT
        else numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
    }
    nodes = model.graph.node[4:-1]
    for node in nodes:
        if node.op_type == "Cast":
            node.attribute[0].i = TensorProto.DOUBLE
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, None)],
        [helper.make_tensor_value_info("logits", TensorProto.DOUBLE, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = helper.make_opsetid("", case.opset)
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=[opset]))


def _head(case: Case) -> list[onnx.NodeProto]:
    return [
        *(
            helper.make_node(kind, inputs, outputs, **attributes)
            for kind, inputs, outputs, attributes in case.nodes
        ),
        helper.make_node("Flatten", ["y"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["first"]),
        helper.make_node("GlobalAveragePool", ["x"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat_means"]),
        helper.make_node("MatMul", ["flat_means", "mean_weights"], ["second"]),
        helper.make_node("Add", ["first", "second"], ["logits"]),
    ]


def _output_size(case: Case, constants: Mapping[str, NDArray[np.generic]]) -> int:
    """Return the number of elements of `y` for one image."""
    graph = helper.make_graph(
        [helper.make_node(kind, i, o, **a) for kind, i, o, a in case.nodes],
        "operator",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", case.opset)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    zeros = np.zeros((1, CHANNELS, HEIGHT, WIDTH), np.float32)
    (output,) = feed_session(open_graph(model.SerializeToString()), {"x": zeros}, ["y"])
    return int(output.size)


def _array(value: ArrayLike) -> NDArray[np.generic]:
    array = np.asarray(value)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
