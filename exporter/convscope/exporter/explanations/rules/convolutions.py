"""The derivatives of convolutions."""

from collections.abc import Mapping, Sequence

import onnx

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.context import Context, Gradients, Rule
from convscope.exporter.explanations.rules.windows import backward, windows
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["RULES"]


def _convolution(context: Context, node: onnx.NodeProto, given: Sequence[str | None]) -> Gradients:
    weights = node.input[1]
    if any(map(context.reaches, node.input[1:])):
        raise ExplanationError("this Conv has computed weights")
    kernel = tuple(size or 0 for size in context.dims(weights)[2:])
    shape = windows(context, node, kernel)
    return [backward(context, str(given[0]), weights, shape, attribute(node, "group", 1))]


RULES: Mapping[str, Rule] = {"Conv": _convolution}
