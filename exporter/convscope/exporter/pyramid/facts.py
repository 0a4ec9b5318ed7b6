"""What each tensor of a graph costs and sees: strides, receptive fields, parameters, work."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx

from convscope.exporter.errors import UnknownNameError
from convscope.exporter.graphs.static_graph import StaticGraph, attribute, static_graph
from convscope.exporter.pyramid.receptive_field import views
from convscope.exporter.pyramid.receptive_view import View

__all__ = ["FeatureMapFacts", "feature_map_facts"]


@dataclass(frozen=True, slots=True)
class FeatureMapFacts:
    """What a graph says about one of its tensors.

    Args:
        stride: The distance of two neighbouring cells, in cells of the input,
            along the last spatial axis; the input's whole length after a
            global pooling.
        receptive_field: How many cells of the input one cell depends on along
            that axis, padding included; None for the whole input, as after a
            global pooling or a squeeze-and-excitation.
        parameters: The weights of every layer that it depends on, its own
            included; a batch normalisation counts its scale and its bias.
        multiply_adds: The multiplications of convolutions and matrices that
            one input costs up to here.
    """

    stride: float
    receptive_field: int | None
    parameters: int
    multiply_adds: int


def feature_map_facts(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, FeatureMapFacts]:
    """Walk a graph from its input to the named tensors.

    Args:
        model: The graph. Only shapes and small constants are read of it.
        names: Tensors, outputs of the graph or inside it.

    Raises:
        UnknownNameError: The graph has no such tensor.
        ExporterError: A shape can't be inferred.
    """
    names = list(names)
    # Behind the feature maps there may be shapes that can't be inferred.
    graph = static_graph(model).upstream(names)
    seen = views(graph)
    ledger = _Ledger(graph, seen)
    facts = {}
    for name in names:
        if name not in seen:
            raise UnknownNameError(f"the graph has no tensor {name!r} that depends on its input")
        stride, field = seen[name].last() or (float(_longest(graph)), None)
        facts[name] = FeatureMapFacts(stride, field, *ledger.total(name))
    return facts


def _longest(graph: StaticGraph) -> int:
    return max(max(graph.shape(name)) for name in graph.inputs)


class _Ledger:
    """Books each node's parameters and work, and adds up those of all its ancestors."""

    def __init__(self, graph: StaticGraph, seen: Mapping[str, View]) -> None:
        self._graph = graph
        self._seen = seen
        self._roots: dict[str, str] = {}
        self._ancestors: dict[str, int] = {}  # of each tensor, the nodes as a set of bits
        self._weights: list[dict[str, int]] = []
        self._work: list[int] = []
        self._weighted = 0  # the nodes that convolve or multiply by matrices, as bits
        for index, node in enumerate(graph.nodes):
            self._book(index, node)

    def total(self, name: str) -> tuple[int, int]:
        """The parameters and multiply-adds of a tensor and all that it needs."""
        bits = self._ancestors.get(name, 0)
        weights: dict[str, int] = {}  # a shared one counts once
        work = 0
        for index in range(bits.bit_length()):
            if bits >> index & 1:
                weights |= self._weights[index]
                work += self._work[index]
        return sum(weights.values()), work

    def _book(self, index: int, node: onnx.NodeProto) -> None:
        before = 0
        for name in node.input:
            before |= self._ancestors.get(name, 0)
        live = any(name in self._seen for name in node.output)
        if not live and len(node.input):
            # A constant made from another, such as a weight that is reshaped.
            root = self._roots.get(node.input[0], node.input[0])
            self._roots.update((name, root) for name in node.output)
        self._work.append(_multiply_adds(node, self._graph) if live else 0)
        if self._work[index]:
            self._weighted |= 1 << index
        self._weights.append(self._parameters(node, before) if live else {})
        self._ancestors.update((name, before | 1 << index) for name in node.output)

    def _parameters(self, node: onnx.NodeProto, before: int) -> dict[str, int]:
        """The constants of a node that were learned, by their origin, with their sizes."""
        positions = _LEARNED.get(node.op_type, range(0))
        if node.op_type in _ARITHMETIC and before & self._weighted:
            # Before any layer, it is the preprocessing; one element is no bias.
            positions = range(2)
        found = {}
        for position in positions:
            if position >= len(node.input) or not (name := node.input[position]):
                continue
            size = math.prod(self._graph.shapes.get(name, ()))
            if name not in self._seen and (size > 1 or node.op_type not in _ARITHMETIC):
                found[self._roots.get(name, name)] = size
        return found


# Which inputs of an operator are learned, if they are constants.
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
