"""Finds the tensor to differentiate by: the last that every path crosses and that has positions."""

import math
from dataclasses import dataclass

import onnx

from convscope.exporter.errors import ExplanationError
from convscope.exporter.graphs.dataflow import crossed, dependents, reads, required
from convscope.exporter.graphs.static_graph import StaticGraph
from convscope.exporter.pyramid.receptive_field import views
from convscope.exporter.pyramid.receptive_view import View

__all__ = ["CutTensor", "cut_tensors", "last_with_positions"]

_MAX_POSITION_DIMENSIONS = 3


@dataclass(frozen=True, slots=True)
class CutTensor:
    """A tensor that every path from the input to the logits crosses.

    Args:
        name: Its name.
        shape: Its sizes without the batch.
        channel_axis: The axis of the channels, with the batch as axis 0.
    """

    name: str
    shape: tuple[int, ...]
    channel_axis: int

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self.shape[self.channel_axis - 1]

    @property
    def positions(self) -> tuple[int, ...]:
        """The sizes of the axes that have positions."""
        return tuple(self.shape[axis - 1] for axis in self.position_axes)

    @property
    def position_axes(self) -> tuple[int, ...]:
        """The axes that have positions, with the batch as axis 0."""
        return tuple(axis for axis in range(1, len(self.shape) + 1) if axis != self.channel_axis)


def cut_tensors(graph: onnx.GraphProto, output: str) -> list[str]:
    """Return the tensors that every path from the input to the output crosses, in order."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in weights]
    nodes, names = required(graph.node, [output])
    on_path = dependents(nodes, inputs) & (names | {output})
    nodes = [node for node in nodes if not on_path.isdisjoint(node.output)]
    steps = [
        ([name for name in node.output if name in on_path], on_path.intersection(reads(node)))
        for node in nodes
    ]
    return crossed(steps, [output])


def last_with_positions(
    static: StaticGraph, graph: onnx.GraphProto, output: str = "logits"
) -> CutTensor:
    """Return the last tensor with several positions that every path crosses.

    Args:
        static: The graph with its shapes.
        graph: The same graph.
        output: The output.

    Raises:
        ExplanationError: There is no such tensor.
    """
    names = [name for name in cut_tensors(graph, output) if name in static.shapes]
    names = [name for name in names if _may_have_positions(static.shapes[name])]
    seen = views(static.upstream(names))
    input_channels = _input_channels(static)
    for name in reversed(names):
        shape = static.shapes[name]
        if name not in seen:
            continue
        channel_axis = _channel_axis(seen[name], input_channels)
        if channel_axis is None:
            continue
        cut = CutTensor(name, shape[1:], channel_axis)
        if math.prod(cut.positions) > 1:
            return cut
    raise ExplanationError("no tensor that every path crosses has channels and several positions")


def _may_have_positions(shape: tuple[int, ...]) -> bool:
    return 3 <= len(shape) <= 2 + _MAX_POSITION_DIMENSIONS and math.prod(shape) > 1


def _input_channels(static: StaticGraph) -> int:
    """Return the channel axis of the input: the last of an image, otherwise the first."""
    name = static.inputs[0]
    is_image = static.elements[name] == onnx.TensorProto.UINT8
    return len(static.shape(name)) - 1 if is_image else 1


def _channel_axis(view: View, input_channels: int) -> int | None:
    """Return the channel axis if all others follow positions of the input; None otherwise."""
    follows = {
        axis
        for axis, steps in enumerate(view.axes)
        if len(steps) == 1 and steps[0].source != input_channels
    }
    rest = set(range(1, len(view.axes))) - follows
    return rest.pop() if len(rest) == 1 else None
