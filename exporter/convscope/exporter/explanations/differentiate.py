"""Reverse-mode differentiation: the gradient of chosen logits by the cut tensor."""

from collections.abc import Mapping

import onnx

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.context import Context, LazyRule, Rule
from convscope.exporter.explanations.cotangents import Cotangent, Spread
from convscope.exporter.explanations.rules import LAZY_RULES, RULES

__all__ = ["gradient"]

_DEFAULT_DOMAINS = ("", "ai.onnx")


def gradient(
    context: Context,
    output: str,
    start: Cotangent,
    rules: Mapping[str, Rule] = RULES,
    lazy_rules: Mapping[str, LazyRule] = LAZY_RULES,
) -> Cotangent:
    """Add the nodes that compute the gradient of an output by the head's cut tensor.

    Args:
        context: The head, and the builder that receives the nodes.
        output: The output.
        start: The gradient by the output.
        rules: The rule of each operator.
        lazy_rules: The rule of some operators for gradients that aren't tensors.

    Raises:
        ExplanationError: An operator on the path has no rule, or its rule doesn't
            cover the case; the message names it.
    """
    nodes = context.head.nodes
    missing = sorted({name for node in nodes if (name := _full_name(node)) not in rules})
    if missing:
        raise ExplanationError(f"operator {missing[0]} on the path has no derivative rule")
    found: dict[str, list[Cotangent]] = {output: [start]}
    for node in reversed(nodes):
        by_output = [_sum(context, found, name) for name in node.output]
        if all(one is None for one in by_output):
            continue
        for name, one in _by_input(context, node, by_output, rules, lazy_rules):
            found.setdefault(name, []).append(one)
    total = _sum(context, found, context.head.tensor)
    if total is None:
        raise ExplanationError(f"{output!r} doesn't vary with {context.head.tensor!r}")
    return total


def _full_name(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in _DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}"


def _by_input(
    context: Context,
    node: onnx.NodeProto,
    by_output: list[Cotangent | None],
    rules: Mapping[str, Rule],
    lazy_rules: Mapping[str, LazyRule],
) -> list[tuple[str, Cotangent]]:
    """Return the gradients by the inputs of a node that vary with the cut tensor."""
    first, lazy = by_output[0], lazy_rules.get(node.op_type)
    by_position: Mapping[int, Cotangent | None] | None = None
    if lazy is not None and first is not None:
        by_position = lazy(context, node, first)
    if by_position is None:
        tensors = [
            None if one is None else context.tensor(one, name)
            for one, name in zip(by_output, node.output, strict=True)
        ]
        by_position = dict(enumerate(rules[node.op_type](context, node, tensors)))
    return [
        (node.input[position], one)
        for position, one in by_position.items()
        if one is not None and context.reaches(node.input[position])
    ]


def _sum(context: Context, found: dict[str, list[Cotangent]], name: str) -> Cotangent | None:
    """Add up the gradients by a tensor that several nodes read."""
    parts = found.pop(name, [])
    if len(parts) <= 1:
        return parts[0] if parts else None
    first = parts[0]
    if isinstance(first, Spread):
        spread = [one for one in parts if isinstance(one, Spread) and one.dims == first.dims]
        if len(spread) == len(parts):
            return Spread(_added(context, [one.tensor for one in spread]), first.dims)
    return _added(context, [context.tensor(one, name) for one in parts])


def _added(context: Context, tensors: list[str]) -> str:
    total, *rest = tensors
    for one in rest:
        total = context.build.add("Add", total, one)
    return total
