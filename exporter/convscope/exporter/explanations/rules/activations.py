"""The derivatives of functions of single elements, and of softmax."""

import math
from collections.abc import Callable, Mapping, Sequence

import onnx

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.context import Context, Gradients, Rule
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["RULES"]

Given = Sequence[str | None]
_SOFTMAX_OF_ONE_AXIS = 13  # since this opset


def _by_slope(slope: Callable[[Context, onnx.NodeProto], str]) -> Rule:
    """Return the rule of a function whose slope is a tensor."""

    def rule(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
        return [context.build.add("Mul", str(given[0]), slope(context, node))]

    return rule


def _by_condition(condition: Callable[[Context, onnx.NodeProto], str | None]) -> Rule:
    """Return the rule of a function whose slope is 1 where a condition is true, and 0 elsewhere."""

    def rule(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
        where = condition(context, node)
        return [given[0] if where is None else context.build.masked(where, str(given[0]))]

    return rule


def _input(context: Context, node: onnx.NodeProto) -> str:
    return context.value(node.input[0])


def _output(context: Context, node: onnx.NodeProto) -> str:
    return context.value(node.output[0])


def _compare(context: Context, kind: str, tensor: str, number: float) -> str:
    return context.build.add(kind, tensor, context.build.constant(number))


def _is_positive(context: Context, node: onnx.NodeProto) -> str:
    return _compare(context, "Greater", _output(context, node), 0.0)


def _is_within(context: Context, node: onnx.NodeProto) -> str | None:
    """Clip: whether the input is between the bounds that the node has."""
    value, found = _input(context, node), None
    for position, kind in ((1, "Greater"), (2, "Less")):
        if position < len(node.input) and node.input[position]:
            inside = context.build.add(kind, value, node.input[position])
            found = inside if found is None else context.build.add("And", found, inside)
    return found


def _leaky(alpha: Callable[[Context, onnx.NodeProto, str], str]) -> Rule:
    """Return the rule of a function that only changes negative inputs."""

    def rule(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
        positive = _compare(context, "Greater", _input(context, node), 0.0)
        gradient = str(given[0])
        return [context.build.add("Where", positive, gradient, alpha(context, node, gradient))]

    return rule


def _leaky_relu(context: Context, node: onnx.NodeProto, gradient: str) -> str:
    return context.build.scaled(gradient, attribute(node, "alpha", 0.01))


def _prelu(context: Context, node: onnx.NodeProto, gradient: str) -> str:
    if context.reaches(node.input[1]):
        raise ExplanationError("the slope of this PRelu is computed from the input")
    return context.build.add("Mul", gradient, context.value(node.input[1]))


def _elu(context: Context, node: onnx.NodeProto, gradient: str) -> str:
    alpha = context.build.constant(attribute(node, "alpha", 1.0))
    slope = context.build.add("Add", _output(context, node), alpha)
    return context.build.add("Mul", gradient, slope)


def _selu(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    build = context.build
    alpha = attribute(node, "alpha", 1.6732632423543772)
    gamma = attribute(node, "gamma", 1.0507009873554805)
    positive = _compare(context, "Greater", _input(context, node), 0.0)
    negative = build.add("Add", _output(context, node), build.constant(alpha * gamma))
    slope = build.add("Where", positive, build.constant(gamma), negative)
    return [build.add("Mul", str(given[0]), slope)]


def _sigmoid(context: Context, node: onnx.NodeProto) -> str:
    return _logistic_slope(context, _output(context, node))


def _logistic_slope(context: Context, value: str) -> str:
    build = context.build
    return build.add("Mul", value, build.add("Sub", build.constant(1.0), value))


def _swish(context: Context, node: onnx.NodeProto) -> str:
    build, value = context.build, _input(context, node)
    alpha = attribute(node, "alpha", 1.0)
    logistic = build.add("Sigmoid", build.scaled(value, alpha))
    product = build.scaled(build.add("Mul", value, _logistic_slope(context, logistic)), alpha)
    return build.add("Add", logistic, product)


def _tanh(context: Context, node: onnx.NodeProto) -> str:
    return _one_minus_square(context, _output(context, node))


def _one_minus_square(context: Context, value: str) -> str:
    build = context.build
    return build.add("Sub", build.constant(1.0), build.add("Mul", value, value))


def _hard_sigmoid(context: Context, node: onnx.NodeProto) -> str:
    build, value = context.build, _output(context, node)
    inside = build.add(
        "And", _compare(context, "Greater", value, 0.0), _compare(context, "Less", value, 1.0)
    )
    slope = build.constant(attribute(node, "alpha", 0.2))
    return build.add("Where", inside, slope, build.constant(0.0))


def _hard_swish(context: Context, node: onnx.NodeProto) -> str:
    build, value = context.build, _input(context, node)
    middle = build.add("Add", build.scaled(value, 1 / 3), build.constant(0.5))
    right = _compare(context, "Greater", value, 3.0)
    upper = build.add("Where", right, build.constant(1.0), middle)
    left = _compare(context, "Less", value, -3.0)
    return build.add("Where", left, build.constant(0.0), upper)


def _gelu(context: Context, node: onnx.NodeProto) -> str:
    build, value = context.build, _input(context, node)
    square = build.add("Mul", value, value)
    one = build.constant(1.0)
    if attribute(node, "approximate", b"none") == b"tanh":
        factor = math.sqrt(2 / math.pi)
        cubic = build.add("Add", one, build.scaled(square, 0.044715))
        tanh = build.add("Tanh", build.scaled(build.add("Mul", value, cubic), factor))
        inner = build.scaled(build.add("Add", one, build.scaled(square, 3 * 0.044715)), factor)
        change = build.add("Mul", _one_minus_square(context, tanh), inner)
        total = build.add("Add", build.add("Add", one, tanh), build.add("Mul", value, change))
        return build.scaled(total, 0.5)
    erf = build.add("Erf", build.scaled(value, 1 / math.sqrt(2)))
    cumulative = build.scaled(build.add("Add", erf, one), 0.5)
    power = build.add("Exp", build.scaled(square, -0.5))
    density = build.scaled(power, 1 / math.sqrt(2 * math.pi))
    return build.add("Add", cumulative, build.add("Mul", value, density))


def _erf(context: Context, node: onnx.NodeProto) -> str:
    build, value = context.build, _input(context, node)
    power = build.add("Exp", build.add("Neg", build.add("Mul", value, value)))
    return build.scaled(power, 2 / math.sqrt(math.pi))


def _reciprocal(context: Context, node: onnx.NodeProto) -> str:
    build, value = context.build, _output(context, node)
    return build.add("Neg", build.add("Mul", value, value))


def _sqrt(context: Context, node: onnx.NodeProto) -> str:
    return context.build.add("Div", context.build.constant(0.5), _output(context, node))


def _mish(context: Context, node: onnx.NodeProto) -> str:
    build, value = context.build, _input(context, node)
    tanh = build.add("Tanh", build.add("Softplus", value))
    logistic = build.add("Mul", value, build.add("Sigmoid", value))
    return build.add("Add", tanh, build.add("Mul", logistic, _one_minus_square(context, tanh)))


def _softmax_axis(context: Context, node: onnx.NodeProto) -> int:
    rank = len(context.dims(node.input[0]))
    newer = context.head.opset >= _SOFTMAX_OF_ONE_AXIS
    axis = int(attribute(node, "axis", -1 if newer else 1)) % rank
    if axis == 0 or not (newer or axis == rank - 1):
        raise ExplanationError(f"this {node.op_type} is over several axes, or over the batch")
    return axis


def _softmax(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    build, value, gradient = context.build, _output(context, node), str(given[0])
    axis = _softmax_axis(context, node)
    total = build.total(build.add("Mul", gradient, value), [axis])
    return [build.add("Mul", value, build.add("Sub", gradient, total))]


def _log_softmax(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    build, gradient = context.build, str(given[0])
    probabilities = build.add("Exp", _output(context, node))
    total = build.total(gradient, [_softmax_axis(context, node)])
    return [build.add("Sub", gradient, build.add("Mul", probabilities, total))]


def _inverse(context: Context, node: onnx.NodeProto) -> str:
    return context.build.add("Reciprocal", _input(context, node))


def _sign(context: Context, node: onnx.NodeProto) -> str:
    return context.build.add("Sign", _input(context, node))


def _softplus(context: Context, node: onnx.NodeProto) -> str:
    return context.build.add("Sigmoid", _input(context, node))


def _softsign(context: Context, node: onnx.NodeProto) -> str:
    build = context.build
    size = build.add("Add", build.constant(1.0), build.add("Abs", _input(context, node)))
    return build.add("Reciprocal", build.add("Mul", size, size))


RULES: Mapping[str, Rule] = {
    "Abs": _by_slope(_sign),
    "Clip": _by_condition(_is_within),
    "Elu": _leaky(_elu),
    "Erf": _by_slope(_erf),
    "Exp": _by_slope(_output),
    "Gelu": _by_slope(_gelu),
    "HardSigmoid": _by_slope(_hard_sigmoid),
    "HardSwish": _by_slope(_hard_swish),
    "LeakyRelu": _leaky(_leaky_relu),
    "Log": _by_slope(_inverse),
    "LogSoftmax": _log_softmax,
    "Mish": _by_slope(_mish),
    "PRelu": _leaky(_prelu),
    "Reciprocal": _by_slope(_reciprocal),
    "Relu": _by_condition(_is_positive),
    "Selu": _selu,
    "Sigmoid": _by_slope(_sigmoid),
    "Softmax": _softmax,
    "Softplus": _by_slope(_softplus),
    "Softsign": _by_slope(_softsign),
    "Sqrt": _by_slope(_sqrt),
    "Swish": _by_slope(_swish),
    "Tanh": _by_slope(_tanh),
}
