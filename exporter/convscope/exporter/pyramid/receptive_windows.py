"""The rules of operators that combine several cells."""

import math
from collections.abc import Iterable, Mapping, Sequence

import onnx

from convscope.exporter.graphs.static_graph import Shape, StaticGraph, attribute
from convscope.exporter.pyramid.receptive_view import Axis, View, join

__all__ = [
    "convolution",
    "global_pool",
    "normalization",
    "pooling",
    "product",
    "reduction",
    "resize",
    "transposed",
]


def convolution(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Move a kernel over the cells, across all channels."""
    weight = node.input[3 if node.op_type == "QLinearConv" else 1]
    kernel = attribute(node, "kernel_shape", None) or graph.shape(weight)[2:]
    view = _windows(node, graph, found[node.input[0]], list(kernel))
    view = view.spread([1])
    return view.along(((), (), *view.axes[2:]))


def pooling(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Move a kernel over the cells, channel by channel."""
    return _windows(node, graph, found[node.input[0]], attribute(node, "kernel_shape", []))


def _windows(node: onnx.NodeProto, graph: StaticGraph, view: View, kernel: Sequence[int]) -> View:
    ones = [1] * len(kernel)
    strides = attribute(node, "strides", ones)
    dilations = attribute(node, "dilations", ones)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = graph.shape(node.input[0])[2:]
    pads = _pads(node, sizes, extents, strides)
    for axis, (extent, stride, pad) in enumerate(zip(extents, strides, pads, strict=True), 2):
        view = view.moved(axis, -pad, extent - 1 - pad, stride)
    return view


def _pads(
    node: onnx.NodeProto, sizes: Sequence[int], extents: Sequence[int], strides: Sequence[int]
) -> list[int]:
    """Return the padding before the first cell of each axis."""
    rule = attribute(node, "auto_pad", b"NOTSET").decode()
    if not rule.startswith("SAME"):
        return list(attribute(node, "pads", [0] * len(sizes)))[: len(sizes)]
    totals = [
        max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
        for size, extent, stride in zip(sizes, extents, strides, strict=True)
    ]
    return [(total + (rule == "SAME_LOWER")) // 2 for total in totals]


def transposed(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Apply a convolution whose stride increases the number of cells."""
    view = found[node.input[0]]
    kernel = attribute(node, "kernel_shape", None) or graph.shape(node.input[1])[2:]
    ones = [1] * len(kernel)
    strides = attribute(node, "strides", ones)
    dilations = attribute(node, "dilations", ones)
    pads = attribute(node, "pads", [0] * 2 * len(kernel))
    for axis, shape in enumerate(zip(kernel, dilations, strides, pads, strict=False), 2):
        view = view.moved(axis, *_widest_span(*shape), 1 / shape[2])
    view = view.spread([1])
    return view.along(((), (), *view.axes[2:]))


def _widest_span(size: int, dilation: int, stride: int, pad: int) -> tuple[int, int]:
    """Return the widest span of input cells of an output cell at any position in the stride."""
    spans = []
    for position in range(stride):
        taps = [position + pad - tap * dilation for tap in range(size)]
        cells = [tap // stride for tap in taps if tap % stride == 0]
        if cells:
            spans.append((min(cells), max(cells)))
    return max(spans, key=lambda span: span[1] - span[0])


def resize(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Interpolate to more or fewer cells."""
    view = found[node.input[0]]
    reach = {"nearest": 0, "linear": 1, "cubic": 2}[attribute(node, "mode", b"nearest").decode()]
    before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
    for axis, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            view = view.moved(axis, min(0, 1 - reach), reach, old / new)
    return view


def global_pool(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Reduce all cells to one."""
    view = found[node.input[0]]
    rest = range(2, len(view.axes))
    return _reduced(view, rest, graph.shape(node.input[0]), keep=True)


def reduction(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Take a sum, a mean or another reduction along some axes."""
    view, shape = found[node.input[0]], graph.shape(node.input[0])
    axes = graph.integers(node, "axes", 1)
    if not axes:
        if attribute(node, "noop_with_empty_axes", 0):
            return view
        axes = list(range(len(shape)))
    return _reduced(view, axes, shape, keep=bool(attribute(node, "keepdims", 1)))


def _reduced(view: View, axes: Iterable[int], shape: Shape, *, keep: bool) -> View:
    """Reduce some axes."""
    reduced = {axis % len(shape) for axis in axes}
    view = view.spread(axis for axis in reduced if shape[axis] > 1)
    return view.along(
        [
            () if i in reduced and shape[i] > 1 else axis
            for i, axis in enumerate(view.axes)
            if keep or i not in reduced
        ]
    )


def normalization(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Let every cell depend on all cells along some axes, without moving it."""
    view = found[node.input[0]]
    rank = len(view.axes)
    if node.op_type in ("Softmax", "LogSoftmax", "Hardmax"):
        newest = graph.opset >= 13
        axis = attribute(node, "axis", -1 if newest else 1) % rank
        axes = [axis] if newest else list(range(axis, rank))
    elif node.op_type in ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"):
        axes = list(range(attribute(node, "axis", -1) % rank, rank))
    elif node.op_type in ("CumSum", "LpNormalization"):
        axes = graph.integers(node, "axis", 1) or [rank - 1]
    else:  # over instances, groups, or mean and variance
        axes = list(range(1, rank))
    return view.spread(axes)


def product(node: onnx.NodeProto, graph: StaticGraph, found: Mapping[str, View]) -> View:
    """Multiply matrices, which sums over one axis of each."""
    left, right = node.input[0], node.input[2 if node.op_type == "QLinearMatMul" else 1]
    if node.op_type == "QLinearMatMul":
        right = node.input[3]
    gemm = node.op_type == "Gemm"
    inner_left = -2 if gemm and attribute(node, "transA", 0) else -1
    inner_right = -1 if gemm and attribute(node, "transB", 0) else -2
    parts, rank = [], len(graph.shape(node.output[0]))
    axes: list[list[Axis]] = [[] for _ in range(rank)]
    for name, inner, position in ((left, inner_left, -2), (right, inner_right, -1)):
        if name not in found:
            continue
        view, shape = found[name], graph.shape(name)
        if shape[inner] > 1:
            view = view.spread([inner])
        parts.append(view)
        for i, axis in enumerate(view.axes[:-2], rank - len(view.axes)):
            axes[i].append(axis)
        axes[position].append(view.axes[-3 - inner])
    return join(parts, axes)
