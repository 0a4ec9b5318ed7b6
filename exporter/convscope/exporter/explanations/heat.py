"""Adds Grad-CAM: the channels of the cut tensor, weighted by the mean of their gradient.

Selvaraju et al. 2017, before the ReLU. A signed map is linear in the class, so that the
difference of two maps contrasts two classes.
"""

from dataclasses import dataclass

from convscope.exporter.explanations.builder import NodeBuilder
from convscope.exporter.explanations.context import Context
from convscope.exporter.explanations.cotangents import Cotangent, OneHot, Product, Spread
from convscope.exporter.explanations.cut_tensors import CutTensor
from convscope.exporter.explanations.differentiate import gradient
from convscope.exporter.explanations.head import Head

__all__ = ["CLASSES", "HEAT", "HEAT_CLASSES", "HeatNodes", "add_heat"]

CLASSES = "classes"
HEAT = "heat"
HEAT_CLASSES = "heat_classes"


@dataclass(frozen=True, slots=True)
class HeatNodes:
    """What the added nodes compute.

    Args:
        weights: The tensor of the channels' weights, [N, T, channels].
        linear: Whether the logit of a class is the sum of its heat plus a constant.
    """

    weights: str
    linear: bool


def add_heat(
    build: NodeBuilder, head: Head, cut: CutTensor, classes: int, logits: str = "logits"
) -> HeatNodes:
    """Add the nodes from the input `classes` to the outputs `heat` and `heat_classes`.

    Args:
        build: Receives the nodes.
        head: The head of the graph.
        cut: The tensor to differentiate by.
        classes: The number of classes.
        logits: The output to differentiate.

    Raises:
        ExplanationError: The head can't be differentiated.
    """
    rows = _resolve_classes(build, classes)
    shape = build.add("Shape", CLASSES)
    targets = build.slice(shape, [0], [1], [2])
    context = Context(head, build, targets)
    found = gradient(context, logits, OneHot(rows))
    weights = _channel_weights(context, cut, found)
    first, last = build.integers([-1]), build.integers([cut.channels])
    sizes = build.add("Concat", first, targets, last, axis=0)
    weights = build.add("Reshape", weights, sizes)  # [N, T, channels]
    heat = build.add("MatMul", weights, _flat(build, cut))  # [N, T, cells]
    positions = build.add("Concat", shape, build.integers(cut.positions), axis=0)
    build.add("Reshape", heat, positions)
    _name_last(build, HEAT)
    linear = isinstance(found, Spread) and not context.needs_values
    return HeatNodes(weights, linear)


def _resolve_classes(build: NodeBuilder, classes: int) -> str:
    """Replace ranks with indices, -1 with the best class; return them as one row, [N * T].

    The ranks are those of the probabilities that callers receive. Different logits may have
    equal probabilities, such as sigmoids that are rounded to 1; the first class is the best then.
    Numbers beyond the classes become the last or the best, so that one wrong number doesn't
    fail a whole batch.
    """
    ranked = build.add_all("TopK", "probabilities", build.integers([classes]), axis=1, outputs=2)[1]
    first, last = build.integers(0), build.integers(classes - 1)
    rank = build.limited(build.add("Sub", build.integers(-1), CLASSES), first, last)
    by_rank = build.add("GatherElements", ranked, rank, axis=1)
    by_index = build.limited(CLASSES, first, last)
    is_rank = build.add("Less", CLASSES, first)
    build.add("Where", is_rank, by_rank, by_index)
    return build.reshape(_name_last(build, HEAT_CLASSES), [-1])


def _channel_weights(context: Context, cut: CutTensor, found: Cotangent) -> str:
    """Return the mean of the gradient over the positions, [N * T, channels, ...]."""
    if isinstance(found, Spread) and all(found.dims[axis] == 1 for axis in cut.position_axes):
        return found.tensor
    if isinstance(found, Product):
        return _mean_product(context, cut, found)
    return context.build.mean(context.tensor(found, cut.name), cut.position_axes)


def _mean_product(context: Context, cut: CutTensor, found: Product) -> str:
    """Return the product with the mean of the weights over the positions."""
    build, weights = context.build, found.weights
    if found.by_output:
        sizes, axes, kept = [-1, *cut.shape], cut.position_axes, [-1, cut.channels]
    else:
        sizes, axes = [*cut.shape, -1], tuple(axis - 1 for axis in cut.position_axes)
        kept = [cut.channels, -1]
    if context.dims(weights)[1:] != cut.shape:  # a reshaped constant is a copy
        weights = build.reshape(weights, sizes)
    means = build.reshape(build.mean(weights, axes), kept)
    return build.add("Gemm", found.rows, means, transB=int(not found.by_output))


def _flat(build: NodeBuilder, cut: CutTensor) -> str:
    """Return the cut tensor as [N, channels, cells]."""
    if cut.channel_axis == 1:
        return build.reshape(cut.name, [0, cut.channels, -1])
    order = [0, cut.channel_axis, *cut.position_axes]
    return build.reshape(build.add("Transpose", cut.name, perm=order), [0, cut.channels, -1])


def _name_last(build: NodeBuilder, name: str) -> str:
    """Rename the output of the last node; return the name."""
    build.nodes[-1].output[0] = name
    return name
