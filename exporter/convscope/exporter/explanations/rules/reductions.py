"""The derivatives of reductions and of global pooling."""

import math
from collections.abc import Mapping, Sequence

import onnx

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.context import Context, Gradients, LazyRule, Rule
from convscope.exporter.explanations.cotangents import Cotangent, Spread
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["LAZY_RULES", "RULES", "spread_mean"]

Given = Sequence[str | None]


def _linear(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    return [context.tensor(_spread(context, node, str(given[0])), node.input[0])]


def _lazily_linear(
    context: Context, node: onnx.NodeProto, given: Cotangent
) -> Mapping[int, Cotangent] | None:
    return {0: _spread(context, node, context.tensor(given, node.output[0]))}


def _spread(context: Context, node: onnx.NodeProto, gradient: str) -> Spread:
    axes = _axes(context, node)
    kept = _kept(context, node, gradient, axes)
    if node.op_type == "ReduceSum":
        return _over(context, node.input[0], axes, kept, 1.0)
    return spread_mean(context, node.input[0], axes, kept)


def spread_mean(context: Context, name: str, axes: Sequence[int], gradient: str) -> Spread:
    """Return the gradient of the mean of a tensor over some axes, which have a size of 1."""
    sizes = context.fixed(name)
    return _over(context, name, axes, gradient, math.prod(sizes[axis - 1] for axis in axes))


def _over(context: Context, name: str, axes: Sequence[int], gradient: str, count: float) -> Spread:
    dims = tuple(1 if axis in axes else size for axis, size in enumerate(context.dims(name)))
    return Spread(context.build.scaled(gradient, 1 / count), dims)


def _extreme(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    """Equal extremes share the gradient."""
    build, value = context.build, context.value(node.input[0])
    axes = _axes(context, node)
    output = _kept(context, node, context.value(node.output[0]), axes)
    gradient = _kept(context, node, str(given[0]), axes)
    equal = build.add("Cast", build.add("Equal", value, output), to=onnx.TensorProto.FLOAT)
    share = build.add("Div", equal, build.total(equal, axes))
    return [build.add("Mul", share, gradient)]


def _norm(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    build, axes = context.build, _axes(context, node)
    output = _kept(context, node, context.value(node.output[0]), axes)
    quotient = build.add("Div", _kept(context, node, str(given[0]), axes), output)
    return [build.add("Mul", context.value(node.input[0]), quotient)]


def _axes(context: Context, node: onnx.NodeProto) -> list[int]:
    """Return the reduced axes, which must not include the batch."""
    rank = len(context.dims(node.input[0]))
    if node.op_type.startswith("Global"):
        return list(range(2, rank))
    stated = attribute(node, "axes", None)
    if stated is None and len(node.input) > 1 and node.input[1]:
        constant = context.constant(node, 1)
        if constant is None:
            raise ExplanationError(f"the axes of this {node.op_type} are computed")
        stated = constant.reshape(-1)
    axes = [int(axis) % rank for axis in (range(rank) if stated is None else stated)]
    if 0 in axes:
        raise ExplanationError(f"this {node.op_type} reduces the batch")
    return axes


def _kept(context: Context, node: onnx.NodeProto, tensor: str, axes: Sequence[int]) -> str:
    """Return a tensor of the output's sizes with the reduced axes, of size 1."""
    if node.op_type.startswith("Global") or attribute(node, "keepdims", 1):
        return tensor
    return context.build.along_axes("Unsqueeze", tensor, sorted(axes))


_LINEAR = ("GlobalAveragePool", "ReduceMean", "ReduceSum")
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_LINEAR, _linear),
    **dict.fromkeys(("GlobalMaxPool", "ReduceMax", "ReduceMin"), _extreme),
    "ReduceL2": _norm,
}
LAZY_RULES: Mapping[str, LazyRule] = dict.fromkeys(_LINEAR, _lazily_linear)
