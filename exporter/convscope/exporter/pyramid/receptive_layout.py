"""The rules of operators that move or drop cells."""

import math
from collections.abc import Mapping

import onnx

from convscope.exporter.graphs.static_graph import Shape, StaticGraph, attribute
from convscope.exporter.pyramid.receptive_view import Axis, View, elementwise, join

__all__ = [
    "blocks",
    "concatenation",
    "gather",
    "pad",
    "reshape",
    "slice_cells",
    "split",
    "transpose",
]


def transpose(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Reorder the axes."""
    view = found[node.input[0]]
    order = attribute(node, "perm", list(range(len(view.axes)))[::-1])
    return view.along([view.axes[axis] for axis in order])


def reshape(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Regroup the axes: flatten, squeeze or split them."""
    view = found[node.input[0]]
    before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
    axes: list[Axis] = []
    for old, new in _groups(before, after):
        wide = [axis for axis in old if before[axis] > 1]
        # Each once: repeated regrouping would double them each time.
        steps = tuple(dict.fromkeys(step for axis in wide for step in view.axes[axis]))
        is_split = sum(after[axis] > 1 for axis in new) > 1
        # No part of a split axis follows a single axis of the input.
        steps = steps * 2 if (is_split or len(wide) > 1) and len(steps) == 1 else steps
        axes.extend(steps if after[axis] > 1 else () for axis in new)
    return view.along(axes)


def _groups(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Split two shapes of equal size into the smallest parts of equal sizes."""
    groups = []
    i = j = 0
    while i < len(before) or j < len(after):
        old, new = [i] if i < len(before) else [], [j] if j < len(after) else []
        i, j = i + len(old), j + len(new)
        while (ours := math.prod(before[a] for a in old)) != (
            theirs := math.prod(after[a] for a in new)
        ):
            if ours < theirs:
                old.append(i)
                i += 1
            else:
                new.append(j)
                j += 1
        groups.append((old, new))
    return groups


def slice_cells(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Take every n-th cell, starting at one."""
    view, shape = found[node.input[0]], graph.shape(node.input[0])
    starts = graph.integers(node, "starts", 1)
    if starts is None:
        return view.spread(range(1, len(shape)))
    axes = graph.integers(node, "axes", 3) or list(range(len(starts)))
    steps = graph.integers(node, "steps", 4) or [1] * len(starts)
    for start, axis, step in zip(starts, axes, steps, strict=True):
        size = shape[axis]
        first = min(max(start + size if start < 0 else start, 0), size)
        if step < 0:
            view = view.spread([axis])
        else:
            view = view.moved(axis % len(shape), first, first, step)
    return view


def pad(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Add cells at the borders, which see the padding."""
    view = found[node.input[0]]
    rank = len(view.axes)
    pads = graph.integers(node, "pads", 1)
    if pads is None:
        return view.spread(range(1, rank))
    axes = graph.integers(node, "axes", 3) or list(range(rank))
    for axis, before in zip(axes, pads[: len(axes)], strict=True):
        view = view.moved(axis % rank, -before, -before, 1)
    return view


def concatenation(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Concatenate several tensors."""
    parts = [found[name] for name in node.input if name in found]
    axis = attribute(node, "axis", 1) % len(parts[0].axes)
    joined = join(parts, [[part.axes[i] for part in parts] for i in range(len(parts[0].axes))])
    return joined.spread([axis]) if joined.axes[axis] else joined


def split(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Take one of several parts; each is assumed to see the whole axis."""
    view = found[node.input[0]]
    return view.spread([attribute(node, "axis", 0) % len(view.axes)])


def gather(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Take chosen elements, which are assumed to see the whole axis."""
    if node.input[0] not in found:
        return elementwise(node, graph, found)
    view = found[node.input[0]]
    axis = attribute(node, "axis", 0) % len(view.axes)
    view = view.spread([axis])
    blank: list[Axis] = [()] * len(graph.shape(node.input[1]))
    return view.along([*view.axes[:axis], *blank, *view.axes[axis + 1 :]])


def blocks(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Move cells to channels, or channels to cells."""
    view, size = found[node.input[0]], attribute(node, "blocksize", 1)
    view = view.spread([1])
    last, scale = (size - 1, size) if node.op_type == "SpaceToDepth" else (0, 1 / size)
    for axis in (2, 3):
        view = view.moved(axis, 0, last, scale)
    return view.along(((), (), *view.axes[2:]))
