"""The derivatives of convolutions."""

from collections.abc import Mapping, Sequence

import onnx

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.context import Context, Gradients, LazyRule, Rule
from convscope.exporter.explanations.cotangents import Cotangent, OneHot, Product
from convscope.exporter.explanations.rules.windows import Windows, backward, windows
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["LAZY_RULES", "RULES"]


def _convolution(context: Context, node: onnx.NodeProto, given: Sequence[str | None]) -> Gradients:
    weights = node.input[1]
    if any(map(context.reaches, node.input[1:])):
        raise ExplanationError("this Conv has computed weights")
    shape = _windows(context, node)
    return [backward(context, str(given[0]), weights, shape, attribute(node, "group", 1))]


def _lazily_dense(
    context: Context, node: onnx.NodeProto, given: Cotangent
) -> Mapping[int, Cotangent] | None:
    """A convolution whose only window is the whole input is a dense layer.

    Its transposed convolution would read all weights for each row; a product reads them once.
    """
    name, weights = node.input[:2]
    if any(map(context.reaches, node.input[1:])) or attribute(node, "group", 1) != 1:
        return None
    if not _windows(context, node).covers_all:
        return None
    if isinstance(given, OneHot):
        return {0: context.build.add("Gather", weights, given.classes, axis=0)}
    outputs = context.fixed(node.output[0])[0]
    rows = context.build.reshape(context.tensor(given, node.output[0]), [-1, outputs])
    return {0: Product(rows, weights, by_output=True, dims=context.dims(name))}


def _windows(context: Context, node: onnx.NodeProto) -> Windows:
    kernel = tuple(size or 0 for size in context.dims(node.input[1])[2:])
    return windows(context, node, kernel)


RULES: Mapping[str, Rule] = {"Conv": _convolution}
LAZY_RULES: Mapping[str, LazyRule] = {"Conv": _lazily_dense}
