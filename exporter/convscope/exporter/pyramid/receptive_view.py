"""The view of a tensor, which is the part of the input that each cell depends on."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import onnx

from convscope.exporter.graphs.static_graph import StaticGraph

__all__ = ["Axis", "Rule", "Step", "View", "elementwise", "join", "opaque"]

Interval = tuple[float, float]
WHOLE: Interval = (-math.inf, math.inf)

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Step:
    """The axis of the input that a tensor's axis follows, and the distance of two cells there."""

    source: int
    jump: float


# No step: an axis without a position in the input. Several steps: axes that were merged.
Axis = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class View:
    """The part of the input that each cell of a tensor depends on.

    Args:
        axes: The axis of the input that each axis of the tensor follows.
        fields: The interval that the first cell sees, on each axis of the input.
    """

    axes: tuple[Axis, ...]
    fields: tuple[Interval, ...]

    def last(self) -> tuple[float, int | None] | None:
        """Return the stride and the receptive field along the last axis that has them.

        Returns:
            Both in cells of the input; the receptive field is None for the
            whole input. None for a tensor without such an axis.
        """
        for axis in reversed(self.axes[1:]):
            if len(axis) == 1:
                low, high = self.fields[axis[0].source]
                size = None if math.isinf(high - low) else math.ceil(high - low) + 1
                return axis[0].jump, size
        return None

    def moved(self, axis: int, first: float, last: float, scale: float) -> "View":
        """Let each cell see the cells from `first` to `last`, and multiply the jump by `scale`."""
        if len(self.axes[axis]) != 1:
            return self.spread([axis]) if last > first else self
        (step,) = self.axes[axis]
        low, high = self.fields[step.source]
        field = (low + first * step.jump, high + last * step.jump)
        return replace(
            self,
            axes=_put(self.axes, axis, (Step(step.source, step.jump * scale),)),
            fields=_put(self.fields, step.source, field),
        )

    def spread(self, axes: Iterable[int]) -> "View":
        """Let each cell see everything along some axes."""
        sources = {step.source for axis in axes for step in self.axes[axis]}
        fields = (WHOLE if i in sources else field for i, field in enumerate(self.fields))
        return replace(self, fields=tuple(fields))

    def along(self, axes: Sequence[Axis]) -> "View":
        """Return the same fields with other axes."""
        return replace(self, axes=tuple(axes))


Rule = Callable[[onnx.NodeProto, StaticGraph, Mapping[str, View]], View]


def opaque(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Assume that every cell sees the whole input; the rule of operators without their own."""
    parts = [found[name] for name in node.input if name in found]
    rank = len(graph.shape(node.output[0]))
    return View(((),) * rank, (WHOLE,) * len(parts[0].fields))


def elementwise(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Compute each cell from those at the same position, after broadcasting."""
    names = [name for name in node.input if name in found]
    shape = graph.shape(node.output[0])
    rank = len(shape)
    axes: list[list[Axis]] = [[] for _ in shape]
    for name in names:
        sizes = graph.shape(name)
        lead = rank - len(sizes)
        if lead < 0 or any(s not in (1, shape[lead + i]) for i, s in enumerate(sizes)):
            return opaque(node, graph, found)
        for i, axis in enumerate(found[name].axes):
            if sizes[i] == shape[lead + i]:  # otherwise it is broadcast, and has no position
                axes[lead + i].append(axis)
    return join([found[name] for name in names], axes)


def join(parts: Sequence[View], axes: Sequence[Sequence[Axis]]) -> View:
    """Return a view of everything that any of the parts sees."""
    fields = tuple(
        (min(low for low, _ in fields), max(high for _, high in fields))
        for fields in zip(*(part.fields for part in parts), strict=True)
    )
    largest = [
        max(candidates, key=lambda axis: (len(axis) == 1, [step.jump for step in axis]), default=())
        for candidates in axes
    ]
    return View(tuple(largest), fields)


def _put(values: tuple[_Item, ...], index: int, value: _Item) -> tuple[_Item, ...]:
    index %= len(values)
    return (*values[:index], value, *values[index + 1 :])
