"""The derivatives of arithmetic with broadcasting."""

from collections.abc import Mapping, Sequence

import onnx

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.context import Context, Gradients, LazyRule, Rule
from convscope.exporter.explanations.cotangents import Cotangent, OneHot

__all__ = ["LAZY_RULES", "RULES"]

Given = Sequence[str | None]


def _add(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    return [_to_input(context, node, name, str(given[0])) for name in node.input]


def _subtract(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    gradient, (left, right) = str(given[0]), node.input
    return [
        _to_input(context, node, left, gradient),
        _to_input(context, node, right, context.build.add("Neg", gradient))
        if context.reaches(right)
        else None,
    ]


def _multiply(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    left, right = node.input

    def by(name: str, other: str) -> str | None:
        if not context.reaches(name):
            return None
        product = context.build.add("Mul", str(given[0]), context.value(other))
        return _to_input(context, node, name, product)

    return [by(left, right), by(right, left)]


def _divide(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    build, (left, right) = context.build, node.input
    quotient = build.add("Div", str(given[0]), context.value(right))
    gradients = [_to_input(context, node, left, quotient), None]
    if context.reaches(right):
        product = build.add("Mul", quotient, context.value(node.output[0]))
        gradients[1] = _to_input(context, node, right, build.add("Neg", product))
    return gradients


def _negate(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    return [context.build.add("Neg", str(given[0]))]


def _power(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    exponent = context.constant(node, 1)
    if exponent is None or exponent.size != 1:
        raise ExplanationError("this Pow has no constant exponent")
    power, base, build = float(exponent.reshape(-1)[0]), context.value(node.input[0]), context.build
    slope = base if power == 2 else build.add("Pow", base, build.constant(power - 1))
    return [build.add("Mul", str(given[0]), build.scaled(slope, power))]


def _where(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    build, (condition, left, right) = context.build, node.input
    chosen, zero = context.value(condition), build.constant(0.0)
    first = build.add("Where", chosen, str(given[0]), zero)
    second = build.add("Where", chosen, zero, str(given[0]))
    return [
        None,
        _to_input(context, node, left, first) if context.reaches(left) else None,
        _to_input(context, node, right, second) if context.reaches(right) else None,
    ]


def _extreme(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    """The larger or smaller input receives the gradient; equal inputs share it.

    Equal cells are frequent behind a Relu. A constant takes no share, as in torch.clamp.
    """
    build, output = context.build, context.value(node.output[0])
    varying = [name for name in node.input if context.reaches(name)]
    if len(varying) == 1:
        equal = build.add("Equal", context.value(varying[0]), output)
        masked = build.masked(equal, str(given[0]))
        return [_to_input(context, node, name, masked) for name in node.input]
    chosen = {
        name: build.add(
            "Cast", build.add("Equal", context.value(name), output), to=onnx.TensorProto.FLOAT
        )
        for name in varying
    }
    count = build.add("Sum", *(chosen[name] for name in varying))
    at_least_one = build.add("Max", count, build.constant(1.0))  # if a constant is the extreme
    share = build.add("Div", str(given[0]), at_least_one)
    return [
        _to_input(context, node, name, build.add("Mul", share, chosen[name]))
        if name in chosen
        else None
        for name in node.input
    ]


def _to_input(context: Context, node: onnx.NodeProto, name: str, gradient: str) -> str | None:
    if not context.reaches(name):
        return None
    return context.unbroadcast(gradient, node.output[0], name)


def _lazily_shifted(
    context: Context, node: onnx.NodeProto, given: Cotangent
) -> Mapping[int, Cotangent] | None:
    """A constant that is added doesn't change the gradient."""
    varying = [at for at, name in enumerate(node.input) if context.reaches(name)]
    if len(varying) != 1 or (node.op_type == "Sub" and varying != [0]):
        return None
    if not isinstance(given, OneHot):
        return None
    same = context.dims(node.input[varying[0]]) == context.dims(node.output[0])
    return {varying[0]: given} if same else None


RULES: Mapping[str, Rule] = {
    "Add": _add,
    "Div": _divide,
    "Max": _extreme,
    "Min": _extreme,
    "Mul": _multiply,
    "Neg": _negate,
    "Pow": _power,
    "Sub": _subtract,
    "Sum": _add,
    "Where": _where,
}
LAZY_RULES: Mapping[str, LazyRule] = dict.fromkeys(("Add", "Sub", "Sum"), _lazily_shifted)
