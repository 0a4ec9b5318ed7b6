"""The derivatives of matrix products."""

from collections.abc import Mapping, Sequence

import onnx

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.context import Context, Gradients, LazyRule, Rule
from convscope.exporter.explanations.cotangents import Cotangent, OneHot, Product
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["LAZY_RULES", "RULES"]

Given = Sequence[str | None]


def _gemm(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    right = node.input[1]
    if any(map(context.reaches, node.input[1:])) or attribute(node, "transA", 0):
        raise ExplanationError("this Gemm has computed weights, or a transposed input")
    transposed = 1 - attribute(node, "transB", 0)
    alpha = attribute(node, "alpha", 1.0)
    return [context.build.add("Gemm", str(given[0]), right, transB=transposed, alpha=alpha)]


def _lazily_gemm(
    context: Context, node: onnx.NodeProto, given: Cotangent
) -> Mapping[int, Cotangent] | None:
    """The gradient of a chosen class is its row of the weights, which saves a product."""
    if attribute(node, "transA", 0) or any(map(context.reaches, node.input[1:])):
        return None
    in_rows, alpha = bool(attribute(node, "transB", 0)), attribute(node, "alpha", 1.0)
    if isinstance(given, OneHot):
        rows = _rows(context, node.input[1], given, in_rows=in_rows)
        return {0: context.build.scaled(rows, alpha)}
    rows = context.build.scaled(context.tensor(given, node.output[0]), alpha)
    return {0: Product(rows, node.input[1], in_rows, context.dims(node.input[0]))}


def _rows(context: Context, weights: str, chosen: OneHot, *, in_rows: bool) -> str:
    axis = 0 if in_rows else 1
    rows = context.build.add("Gather", weights, chosen.classes, axis=axis)
    return rows if in_rows else context.build.add("Transpose", rows, perm=[1, 0])


def _matmul(context: Context, node: onnx.NodeProto, given: Given) -> Gradients:
    left, right = node.input
    ranks = len(context.dims(left)), len(context.dims(right))
    build, gradient = context.build, str(given[0])
    if min(ranks) < 2:
        raise ExplanationError("this MatMul has a vector")
    if not context.reaches(right) and ranks[1] == 2:
        return [build.add("MatMul", gradient, _transposed(context, right, right))]
    if ranks[0] != ranks[1] or context.dims(left)[:-2] != context.dims(right)[:-2]:
        raise ExplanationError("this MatMul broadcasts")
    by_left, by_right = None, None
    if context.reaches(left):
        by_left = build.add("MatMul", gradient, _transposed(context, context.value(right), right))
    if context.reaches(right):
        by_right = build.add("MatMul", _transposed(context, context.value(left), left), gradient)
    return [by_left, by_right]


def _transposed(context: Context, tensor: str, name: str) -> str:
    rank = len(context.dims(name))
    order = [*range(rank - 2), rank - 1, rank - 2]
    return context.build.add("Transpose", tensor, perm=order)


def _lazily_matmul(
    context: Context, node: onnx.NodeProto, given: Cotangent
) -> Mapping[int, Cotangent] | None:
    left, right = node.input
    flat = len(context.dims(left)) == len(context.dims(right)) == 2
    if context.reaches(right) or not flat:
        return None
    if isinstance(given, OneHot):
        return {0: _rows(context, right, given, in_rows=False)}
    rows = context.tensor(given, node.output[0])
    return {0: Product(rows, right, by_output=False, dims=context.dims(left))}


RULES: Mapping[str, Rule] = {"Gemm": _gemm, "MatMul": _matmul}
LAZY_RULES: Mapping[str, LazyRule] = {"Gemm": _lazily_gemm, "MatMul": _lazily_matmul}
