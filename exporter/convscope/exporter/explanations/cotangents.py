"""Gradients that aren't tensors yet, because the next operator may need less than all of it."""

from dataclasses import dataclass

from convscope.exporter.explanations.head import Dims

__all__ = ["Cotangent", "OneHot", "Product", "Spread"]


@dataclass(frozen=True, slots=True)
class OneHot:
    """The gradient of the chosen logits by all logits: 1 at the chosen class, 0 elsewhere.

    Args:
        classes: The tensor of the class of each row, int64 [rows].
    """

    classes: str


@dataclass(frozen=True, slots=True)
class Spread:
    """A gradient that is the same at every position.

    Args:
        tensor: The tensor of one gradient for all positions.
        dims: Its sizes, 1 for each axis of positions.
    """

    tensor: str
    dims: Dims


@dataclass(frozen=True, slots=True)
class Product:
    """A gradient that is a product with the weights of a dense layer.

    A convolution over the whole map is a dense layer as well.

    The mean over its positions is a product with the mean of the weights, which ONNX Runtime
    computes once. The product itself would read all weights again for each batch.

    Args:
        rows: The tensor of the gradient by the layer's output, [rows, outputs].
        weights: The weights, [outputs, inputs...] or [inputs, outputs].
        by_output: Whether it is the first of both.
        dims: The sizes of the gradient, whose product is the number of inputs.
    """

    rows: str
    weights: str
    by_output: bool
    dims: Dims


Cotangent = str | OneHot | Product | Spread
"""The name of a tensor, or a gradient that isn't a tensor yet."""
