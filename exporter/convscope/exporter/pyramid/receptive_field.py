"""Computes the receptive field of each tensor, operator by operator.

For each axis of the graph's input, a tensor's first cell depends on the interval
from `low` to `high`, and the next cell on the same interval, shifted by the jump
(Dumoulin and Visin 2016; Araujo, Norris and Sim 2019). Padding counts as part of
the input, as it does in the literature.
"""

from collections.abc import Mapping

import onnx

from convscope.exporter.graphs.static_graph import Shape, StaticGraph
from convscope.exporter.pyramid import receptive_layout as layout
from convscope.exporter.pyramid import receptive_windows as windows
from convscope.exporter.pyramid.receptive_view import (
    Axis,
    Rule,
    Step,
    View,
    elementwise,
    opaque,
)

__all__ = ["views"]


def views(graph: StaticGraph) -> dict[str, View]:
    """Return the view of each tensor that depends on the elements of the graph's input."""
    found: dict[str, View] = {}
    for name in graph.inputs:
        rank = len(graph.shape(name))
        axes = ((), *((Step(axis, 1.0),) for axis in range(1, rank)))
        found[name] = View(axes, ((0.0, 0.0),) * rank)
    regrouped = _Regrouped(graph)
    for node in graph.nodes:
        if node.op_type in _INDEPENDENT or not any(name in found for name in node.input):
            continue
        view = _RULES.get(node.op_type, elementwise)(node, graph, found)
        view = regrouped.restored(node, view, found)
        outputs = node.output[:1] if node.op_type in _WITH_INDICES else node.output
        found.update((name, view) for name in outputs if name)
    return found


class _Regrouped:
    """Restores the axes of tensors that were reshaped, normalized, and reshaped back.

    So exporters write a normalization over groups of channels.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: StaticGraph) -> None:
        self._graph = graph
        self._before: dict[str, tuple[Shape, tuple[Axis, ...]]] = {}

    def restored(self, node: onnx.NodeProto, view: View, found: Mapping[str, View]) -> View:
        """Return the view of a node's output, with the axes that it had before.

        Args:
            node: The node.
            view: Its output's view.
            found: The views of its inputs.
        """
        source, output = node.input[0], node.output[0]
        shape = self._graph.shapes.get(output)
        before = self._before.get(source)
        rule = _RULES.get(node.op_type, elementwise)
        if rule is layout.reshape and source in found:
            if before is not None and before[0] == shape:
                return view.along(before[1])
            self._before[output] = (self._graph.shape(source), found[source].axes)
        elif (
            before is not None
            and rule in (elementwise, windows.normalization)
            and shape == self._graph.shapes.get(source)
        ):
            self._before[output] = before
        return view


# The outputs of these don't depend on the elements of their input.
_INDEPENDENT = frozenset({"Shape", "Size", "ConstantOfShape"})
# Their other outputs are positions, which count the images of the batch.
_WITH_INDICES = frozenset({"MaxPool"})
_BY_RULE: dict[Rule, tuple[str, ...]] = {
    windows.convolution: ("Conv", "ConvInteger", "QLinearConv"),
    windows.transposed: ("ConvTranspose",),
    windows.pooling: ("MaxPool", "AveragePool", "LpPool"),
    windows.global_pool: ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
    windows.reduction: (
        *("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceProd", "ReduceMax", "ReduceMin"),
        *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"),
    ),
    windows.normalization: (
        *("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "CumSum"),
        *("LayerNormalization", "RMSNormalization"),
        *("InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization"),
    ),
    windows.product: ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul"),
    windows.resize: ("Resize", "Upsample"),
    layout.blocks: ("SpaceToDepth", "DepthToSpace"),
    layout.reshape: ("Reshape", "Flatten", "Squeeze", "Unsqueeze"),
    layout.transpose: ("Transpose",),
    layout.slice_cells: ("Slice",),
    layout.pad: ("Pad",),
    layout.concatenation: ("Concat",),
    layout.split: ("Split",),
    layout.gather: ("Gather", "GatherElements"),
    opaque: ("GatherND", "Einsum", "If", "Loop", "Scan", "LSTM", "GRU", "RNN", "Attention"),
}
_RULES: dict[str, Rule] = {kind: rule for rule, kinds in _BY_RULE.items() for kind in kinds}
