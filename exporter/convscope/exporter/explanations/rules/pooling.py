"""The derivatives of pooling and local response normalization."""

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.context import Context, Gradients, LazyRule, Rule
from convscope.exporter.explanations.cotangents import Cotangent
from convscope.exporter.explanations.rules.reductions import spread_mean
from convscope.exporter.explanations.rules.windows import Windows, backward, windows
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["LAZY_RULES", "RULES"]

Given = Sequence[str | None]
_SCATTER_ADDS = 16  # since this opset


def _average(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    """Share each gradient among the cells of its window."""
    build, shape = context.build, windows(context, node, _kernel(node))
    counts = _counts(shape, padding_counts=bool(attribute(node, "count_include_pad", 0)))
    share = build.add("Mul", str(given[0]), build.constant((1 / counts)[None, None]))
    channels = context.fixed(node.input[0])[0]
    # Computed, because a constant would be stored in the file.
    ones = build.add("Expand", build.constant(1.0), build.integers([channels, 1, *shape.kernel]))
    return [backward(context, share, ones, shape, channels)]


def _lazily_average(
    context: Context, node: onnx.NodeProto, given: Cotangent
) -> Mapping[int, Cotangent] | None:
    shape = windows(context, node, _kernel(node))
    if shape.copies:
        return {0: given}
    if not shape.covers_all:
        return None
    axes = range(2, len(context.dims(node.input[0])))
    return {0: spread_mean(context, node.input[0], axes, context.tensor(given, node.output[0]))}


def _kernel(node: onnx.NodeProto) -> tuple[int, ...]:
    return tuple(attribute(node, "kernel_shape", ()))


def _counts(shape: Windows, *, padding_counts: bool) -> NDArray[np.float64]:
    """Return the number of cells that each window averages."""
    by_axis = []
    for axis, outputs in enumerate(shape.outputs):
        cells = (
            np.arange(outputs)[:, None] * shape.strides[axis]
            + np.arange(shape.kernel[axis])[None] * shape.dilations[axis]
            - shape.before[axis]
        )
        low = -shape.before[axis] if padding_counts else 0
        high = shape.sizes[axis] + (shape.after[axis] if padding_counts else 0)
        by_axis.append(((cells >= low) & (cells < high)).sum(axis=1).clip(1))
    return np.asarray(reduce(np.multiply.outer, by_axis), np.float64)


def _maximum(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    """Add each gradient to the cell that was the largest of its window."""
    build, value = context.build, context.value(node.input[0])
    shape = windows(context, node, _kernel(node))
    if not shape.are_disjoint and context.head.opset < _SCATTER_ADDS:
        raise ExplanationError(
            f"the derivative of a MaxPool whose windows overlap needs opset {_SCATTER_ADDS}; the "
            f"graph has {context.head.opset}"
        )
    adds = {} if shape.are_disjoint else {"reduction": "add"}
    names = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
    stated = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    options = {name: stated[name] for name in names if name in stated}
    indices = build.add_all("MaxPool", value, outputs=2, **options)[1]
    elements = build.along_axes("ReduceProd", build.add("Shape", value), [0], keepdims=1)
    zeros = build.add("Expand", build.constant(0.0), elements)
    flat = [build.reshape(tensor, [-1]) for tensor in (indices, str(given[0]))]
    total = build.add("ScatterElements", zeros, *flat, axis=0, **adds)
    return [context.like(total, node.input[0])]


def _local_response(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    """Of x / s^beta, where s = bias + alpha / size * (the sum of x^2 over nearby channels)."""
    build, gradient = context.build, str(given[0])
    value, output = context.value(node.input[0]), context.value(node.output[0])
    size, beta = attribute(node, "size", 1), attribute(node, "beta", 0.75)
    factor = attribute(node, "alpha", 1e-4) / size
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = _nearby_sum(context, node, build.add("Mul", value, value), before, after)
    bias = build.constant(attribute(node, "bias", 1.0))
    scale = build.add("Add", build.scaled(squares, factor), bias)
    weighted = build.add("Div", build.add("Mul", gradient, output), scale)
    others = build.add("Mul", value, _nearby_sum(context, node, weighted, after, before))
    own = build.add("Mul", gradient, build.add("Pow", scale, build.constant(-beta)))
    return [build.add("Sub", own, build.scaled(others, 2 * beta * factor))]


def _nearby_sum(
    context: Context, node: onnx.NodeProto, tensor: str, before: int, after: int
) -> str:
    """Sum over the channels from `before` in front of each to `after` behind it."""
    channels, *positions = context.fixed(node.input[0])
    flat = context.build.reshape(tensor, [-1, 1, channels, int(np.prod(positions))])
    mean = context.build.add(
        "AveragePool",
        flat,
        kernel_shape=[before + after + 1, 1],
        pads=[before, 0, after, 0],
        count_include_pad=1,
    )
    return context.like(context.build.scaled(mean, before + after + 1), node.input[0])


RULES: Mapping[str, Rule] = {
    "AveragePool": _average,
    "LRN": _local_response,
    "MaxPool": _maximum,
}
LAZY_RULES: Mapping[str, LazyRule] = {"AveragePool": _lazily_average}
