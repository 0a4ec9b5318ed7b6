"""Computes the stride, receptive field, parameters and multiply-adds of a graph's tensors."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx

from convscope.exporter.errors import UnknownNameError
from convscope.exporter.graphs.static_graph import StaticGraph, attribute, static_graph
from convscope.exporter.pyramid.receptive_field import views
from convscope.exporter.pyramid.receptive_view import View

__all__ = ["FeatureMapFacts", "facts_of", "feature_map_facts"]


@dataclass(frozen=True, slots=True)
class FeatureMapFacts:
    """The facts of one tensor.

    Args:
        stride: The distance between two neighboring cells, in cells of the
            input, along the last spatial axis; the input's whole length after
            global pooling.
        receptive_field: The number of input cells that one cell depends on
            along that axis, including padding; None for the whole input, as
            after global pooling or squeeze-and-excitation.
        parameters: The number of weights of its own and all preceding layers; a
            batch normalization counts its scale and its bias.
        multiply_adds: The number of multiplications in convolutions and matrix
            products for one input up to this tensor.
    """

    stride: float
    receptive_field: int | None
    parameters: int
    multiply_adds: int


def feature_map_facts(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, FeatureMapFacts]:
    """Return the facts of the named tensors.

    Args:
        model: The graph, of which only shapes and small constants are read.
        names: Outputs or inner tensors of the graph.

    Raises:
        UnknownNameError: The graph has no such tensor.
        ExporterError: A shape can't be inferred.
    """
    return facts_of(static_graph(model), names)


def facts_of(static: StaticGraph, names: Iterable[str]) -> dict[str, FeatureMapFacts]:
    """Return the facts of the named tensors of a graph whose shapes are known already.

    Raises:
        UnknownNameError: The graph has no such tensor.
        ExporterError: A shape isn't known.
    """
    names = list(names)
    # Shapes after the feature maps aren't needed, and some can't be inferred.
    graph = static.upstream(names)
    seen = views(graph)
    costs = _Costs(graph, seen)
    facts = {}
    for name in names:
        if name not in seen:
            raise UnknownNameError(f"the graph has no tensor {name!r} that depends on its input")
        stride, field = seen[name].last() or (float(_longest(graph)), None)
        facts[name] = FeatureMapFacts(stride, field, *costs.total(name))
    return facts


def _longest(graph: StaticGraph) -> int:
    return max(max(graph.shape(name)) for name in graph.inputs)


class _Costs:
    """Records the parameters and multiply-adds of each node, and adds up those of its ancestors."""

    def __init__(self, graph: StaticGraph, seen: Mapping[str, View]) -> None:
        self._graph = graph
        self._seen = seen
        self._roots: dict[str, str] = {}
        self._ancestors: dict[str, int] = {}  # the nodes before each tensor, as bits
        self._parameters: list[dict[str, int]] = []  # sizes by name, for each node
        self._multiply_adds: list[int] = []
        self._layers = 0  # the nodes of convolutions and matrix products, as bits
        for index, node in enumerate(graph.nodes):
            self._record(index, node)

    def total(self, name: str) -> tuple[int, int]:
        """Return the parameters and multiply-adds of a tensor and everything before it."""
        bits = self._ancestors.get(name, 0)
        parameters: dict[str, int] = {}  # a shared weight counts once
        multiply_adds = 0
        for index in range(bits.bit_length()):
            if bits >> index & 1:
                parameters |= self._parameters[index]
                multiply_adds += self._multiply_adds[index]
        return sum(parameters.values()), multiply_adds

    def _record(self, index: int, node: onnx.NodeProto) -> None:
        before = 0
        for name in node.input:
            before |= self._ancestors.get(name, 0)
        live = any(name in self._seen for name in node.output)
        if not live and len(node.input):
            # A constant computed from another, such as a reshaped weight.
            root = self._roots.get(node.input[0], node.input[0])
            self._roots.update((name, root) for name in node.output)
        self._multiply_adds.append(_multiply_adds(node, self._graph) if live else 0)
        if self._multiply_adds[index]:
            self._layers |= 1 << index
        self._parameters.append(self._learned(node, before) if live else {})
        self._ancestors.update((name, before | 1 << index) for name in node.output)

    def _learned(self, node: onnx.NodeProto, before: int) -> dict[str, int]:
        """Return the sizes of a node's learned constants by the name of their origin."""
        positions = _LEARNED.get(node.op_type, range(0))
        if node.op_type in _ARITHMETIC and before & self._layers:
            # Arithmetic before the first layer is preprocessing; a single element is no bias.
            positions = range(2)
        found = {}
        for position in positions:
            if position >= len(node.input) or not (name := node.input[position]):
                continue
            size = math.prod(self._graph.shapes.get(name, ()))
            if name not in self._seen and (size > 1 or node.op_type not in _ARITHMETIC):
                found[self._roots.get(name, name)] = size
        return found


# The positions of the inputs that are learned if they are constants.
_LEARNED = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "ConvInteger": (1,),
    "QLinearConv": (3, 8),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
}
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Sum"})


def _multiply_adds(node: onnx.NodeProto, graph: StaticGraph) -> int:
    kind = node.op_type
    if kind in ("Conv", "ConvInteger", "QLinearConv"):
        weight = graph.shape(node.input[3 if kind == "QLinearConv" else 1])
        return math.prod(graph.shape(node.output[0])) * math.prod(weight[1:])
    if kind == "ConvTranspose":
        return math.prod(graph.shape(node.input[0])) * math.prod(graph.shape(node.input[1])[1:])
    if kind in ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"):
        axis = 0 if kind == "Gemm" and attribute(node, "transA", 0) else -1
        inner = graph.shape(node.input[0])[axis]
        return math.prod(graph.shape(node.output[0])) * inner
    return 0
