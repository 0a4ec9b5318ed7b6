"""The derivatives of normalizations."""

import math
from collections.abc import Mapping, Sequence

import onnx

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.context import Context, Gradients, Rule
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["RULES"]

Given = Sequence[str | None]
EPSILON = 1e-5
_GROUP_SCALE_BY_CHANNEL = 21  # since this opset


def _batch(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    """Multiply by scale / sqrt(variance + epsilon), which ONNX Runtime computes once."""
    if attribute(node, "training_mode", 0):
        raise ExplanationError("this BatchNormalization is in training mode")
    build, (_, scale, _, _, variance) = context.build, node.input
    epsilon = build.constant(attribute(node, "epsilon", EPSILON))
    deviation = build.add("Sqrt", build.add("Add", variance, epsilon))
    factor = _by_channel(context, build.add("Div", scale, deviation), node.input[0])
    return [build.add("Mul", str(given[0]), factor)]


def _layer(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    rank = len(context.dims(node.input[0]))
    axes = list(range(int(attribute(node, "axis", -1)) % rank, rank))
    scaled = context.build.add("Mul", str(given[0]), node.input[1])
    return [_normalized(context, node, context.value(node.input[0]), scaled, axes)]


def _instance(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    factor = _by_channel(context, node.input[1], node.input[0])
    scaled = context.build.add("Mul", str(given[0]), factor)
    axes = list(range(2, len(context.dims(node.input[0]))))
    return [_normalized(context, node, context.value(node.input[0]), scaled, axes)]


def _group(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    """Normalize [N, groups, rest], where an older opset has one scale for each group."""
    name, scale = node.input[:2]
    build, groups = context.build, int(attribute(node, "num_groups", 1))
    by_group = [-1, groups, math.prod(context.fixed(name)) // groups]
    value = build.reshape(context.value(name), by_group)
    if context.head.opset < _GROUP_SCALE_BY_CHANNEL:
        scaled = build.reshape(str(given[0]), by_group)
        scaled = build.add("Mul", scaled, build.reshape(scale, [groups, 1]))
    else:
        scaled = build.add("Mul", str(given[0]), _by_channel(context, scale, name))
        scaled = build.reshape(scaled, by_group)
    return [context.like(_normalized(context, node, value, scaled, [2]), name)]


def _by_channel(context: Context, factor: str, name: str) -> str:
    """Reshape one factor for each channel so that it broadcasts."""
    return context.build.reshape(factor, [-1, *(1 for _ in context.fixed(name)[1:])])


def _normalized(
    context: Context, node: onnx.NodeProto, value: str, gradient: str, axes: Sequence[int]
) -> str:
    """Return the gradient of (x - mean) / sqrt(variance + epsilon) over some axes."""
    if 0 in axes:
        raise ExplanationError(f"this {node.op_type} normalizes over the batch")
    build = context.build
    centered = build.add("Sub", value, build.mean(value, axes))
    variance = build.mean(build.add("Mul", centered, centered), axes)
    epsilon = build.constant(attribute(node, "epsilon", EPSILON))
    inverse = build.add("Reciprocal", build.add("Sqrt", build.add("Add", variance, epsilon)))
    normal = build.add("Mul", centered, inverse)
    along = build.add("Mul", normal, build.mean(build.add("Mul", gradient, normal), axes))
    rest = build.add("Sub", build.add("Sub", gradient, build.mean(gradient, axes)), along)
    return build.add("Mul", inverse, rest)


RULES: Mapping[str, Rule] = {
    "BatchNormalization": _batch,
    "GroupNormalization": _group,
    "InstanceNormalization": _instance,
    "LayerNormalization": _layer,
}
