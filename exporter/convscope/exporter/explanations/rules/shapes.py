"""The derivatives of operators that only move cells."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.context import Context, Gradients, LazyRule, Rule
from convscope.exporter.explanations.cotangents import Cotangent, OneHot, Product, Spread
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["LAZY_RULES", "RULES"]

_EVERYTHING = 2**31 - 1  # exporters write at least this for the end of an axis
_MAX_MATRIX = 1 << 22  # elements, which every open session keeps
Given = Sequence[str | None]


def _same(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    return [given[0]]


def _reshape(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    return [context.like(str(given[0]), node.input[0])]


def _transpose(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    order = attribute(node, "perm", range(len(context.dims(node.input[0])))[::-1])
    if order[0] != 0:
        raise ExplanationError("this Transpose moves the batch")
    return [context.build.add("Transpose", str(given[0]), perm=np.argsort(order).tolist())]


def _concat(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    axis = _axis(context, node.output[0], attribute(node, "axis", 0))
    gradients: list[str | None] = []
    start = 0
    for name in node.input:
        end = start + _size(context, name, axis)
        part = context.build.slice(str(given[0]), [axis], [start], [end])
        gradients.append(part if context.reaches(name) else None)
        start = end
    return gradients


def _split(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    axis = _axis(context, node.input[0], attribute(node, "axis", 0))
    parts = [
        context.build.scaled(context.value(name), 0.0) if one is None else one
        for name, one in zip(node.output, given, strict=True)
    ]
    return [context.build.add("Concat", *parts, axis=axis)]


def _slice(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    source = node.input[0]
    rank = len(context.dims(source))
    starts, ends = context.constant(node, 1), context.constant(node, 2)
    axes, steps = context.constant(node, 3), context.constant(node, 4)
    if starts is None or ends is None or (steps is not None and (steps != 1).any()):
        raise ExplanationError("this Slice has steps, or computed ends")
    before, after = [0] * rank, [0] * rank
    each = range(len(starts)) if axes is None else axes
    for number, first, last in zip(each, starts, ends, strict=True):
        if number % rank == 0 and first == 0 and last >= _EVERYTHING:
            continue  # the whole batch
        axis = _axis(context, source, int(number))
        size = _size(context, source, axis)
        begin, end, _ = slice(int(first), int(last)).indices(size)
        before[axis], after[axis] = begin, size - max(begin, end)
    return [context.build.pad(str(given[0]), before, after)]


def _pad(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    pads = context.constant(node, 1)
    rank = len(context.dims(node.input[0]))
    if attribute(node, "mode", b"constant") != b"constant" or pads is None:
        raise ExplanationError("this Pad isn't by zeros, or by a computed number of them")
    if len(pads) != 2 * rank or pads[0] or pads[rank]:
        raise ExplanationError("this Pad names its axes, or pads the batch")
    opposite = [-int(number) for number in pads]
    return [context.build.pad(str(given[0]), opposite[:rank], opposite[rank:])]


def _gather(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    """One cell of an axis, a run of them, all of them in another order, or any others."""
    source = node.input[0]
    axis = _axis(context, source, attribute(node, "axis", 0))
    size, indices = _size(context, source, axis), context.constant(node, 1)
    if indices is None or indices.ndim > 1:
        raise ExplanationError("this Gather has computed indices, or several dimensions of them")
    positions = indices.reshape(-1).astype(np.int64) % size
    gradient = str(given[0])
    if indices.ndim == 0:
        gradient = context.build.along_axes("Unsqueeze", gradient, [axis])
    if sorted(positions.tolist()) == list(range(size)):
        order = context.build.integers(np.argsort(positions))
        return [context.build.add("Gather", gradient, order, axis=axis)]
    if (np.diff(positions) != 1).any():
        return [_scattered(context, node, gradient, positions, axis)]
    before, after = ([0] * len(context.dims(source)) for _ in range(2))
    before[axis], after[axis] = int(positions[0]), int(size - 1 - positions[-1])
    return [context.build.pad(gradient, before, after)]


def _scattered(
    context: Context, node: onnx.NodeProto, gradient: str, positions: NDArray[np.int64], axis: int
) -> str:
    """Add each cell of an axis to its position, by a product with a matrix of zeros and ones."""
    build, size = context.build, _size(context, node.input[0], axis)
    if len(positions) * size > _MAX_MATRIX:
        raise ExplanationError(f"this Gather takes {len(positions)} of {size} cells, too many")
    depth = build.integers([size])
    matrix = build.add("OneHot", build.integers(positions), depth, build.constant([0.0, 1.0]))
    rank = len(context.dims(node.input[0]))
    order = [*(one for one in range(rank) if one != axis), axis]
    last = build.add("Transpose", gradient, perm=order)
    total = build.add("MatMul", last, matrix)  # [..., cells] times [cells, size]
    return build.add("Transpose", total, perm=np.argsort(order).tolist())


def _expand(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    return [context.unbroadcast(str(given[0]), node.output[0], node.input[0])]


def _blocks(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    if attribute(node, "mode", b"DCR") != b"DCR":
        raise ExplanationError("this DepthToSpace has the mode CRD")
    opposite = {"DepthToSpace": "SpaceToDepth", "SpaceToDepth": "DepthToSpace"}[node.op_type]
    size = attribute(node, "blocksize", 0)
    return [context.build.add(opposite, str(given[0]), blocksize=size)]


def _axis(context: Context, name: str, axis: int) -> int:
    """Return an axis counted from the first; it must not be the batch."""
    axis %= len(context.dims(name))
    if axis == 0:
        raise ExplanationError(f"an operator works along the batch of {name!r}")
    return axis


def _size(context: Context, name: str, axis: int) -> int:
    return context.fixed(name)[axis - 1]


def _lazily_same(
    context: Context, node: onnx.NodeProto, given: Cotangent
) -> Mapping[int, Cotangent] | None:
    return {0: given}


def _lazily_reshaped(
    context: Context, node: onnx.NodeProto, given: Cotangent
) -> Mapping[int, Cotangent] | None:
    """Classes stay classes if only axes of size 1 change; channels if they stay the first axis."""
    source, output = (context.fixed(name) for name in (node.input[0], node.output[0]))
    if isinstance(given, Product):
        return {0: replace(given, dims=(None, *source))}
    if isinstance(given, OneHot):
        same = [size for size in source if size != 1] == [size for size in output if size != 1]
        return {0: given} if same else None
    if isinstance(given, Spread) and source[:1] == output[:1] == given.dims[1:2]:
        if any(size != 1 for size in given.dims[2:]):
            return None
        sizes = (source[0], *(1 for _ in source[1:]))
        return {0: Spread(context.build.reshape(given.tensor, [-1, *sizes]), (None, *sizes))}
    return None


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Identity", "Dropout", "Cast"), _same),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _blocks),
    "Concat": _concat,
    "Expand": _expand,
    "Gather": _gather,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Transpose": _transpose,
}
LAZY_RULES: Mapping[str, LazyRule] = {
    **dict.fromkeys(("Identity", "Dropout", "Cast"), _lazily_same),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _lazily_reshaped),
}
