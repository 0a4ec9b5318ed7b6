"""Gradients that aren't tensors yet, because the next operator may need less than all of it."""

from dataclasses import dataclass

from convscope.exporter.explanations.head import Dims

__all__ = ["Cotangent", "OneHot", "Spread"]


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


Cotangent = str | OneHot | Spread
"""The name of a tensor, or a gradient that isn't a tensor yet."""
