"""What the rules work with: the head, the new nodes, and the values of the forward pass."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.builder import NodeBuilder
from convscope.exporter.explanations.cotangents import Cotangent, OneHot, Product, Spread
from convscope.exporter.explanations.head import Dims, Head

__all__ = ["Context", "Gradients", "LazyRule", "Rule"]

Gradients = Sequence[str | None]
"""The gradients by the inputs or the outputs of a node; None where there is none."""


class Context:
    """Passed to every rule.

    The rows of a gradient are the pairs of an input and a target, N * T. A value of the
    forward pass is repeated for each target, but only if a rule needs it.

    Args:
        head: The head.
        build: Receives the nodes.
        targets: The tensor of the number of targets, int64 [1].
    """

    def __init__(self, head: Head, build: NodeBuilder, targets: str) -> None:
        self.head = head
        self.build = build
        self._targets = targets
        self._repeated: dict[str, str] = {}

    @property
    def needs_values(self) -> bool:
        """Whether the gradient depends on values of the forward pass: the head isn't linear."""
        return bool(self._repeated)

    def dims(self, name: str) -> Dims:
        """Return the sizes of a tensor, with None for the batch."""
        return self.head.dims(name)

    def fixed(self, name: str) -> tuple[int, ...]:
        """Return the sizes of a tensor without the batch, which must be its first axis.

        Raises:
            ExplanationError: It isn't, or another size isn't fixed.
        """
        dims = self.dims(name)
        sizes = tuple(size for size in dims[1:] if size is not None)
        if not dims or dims[0] is not None or len(sizes) != len(dims) - 1:
            raise ExplanationError(f"the batch isn't the first dimension of {name!r}")
        return sizes

    def reaches(self, name: str) -> bool:
        """Return whether a tensor varies with the cut tensor."""
        return name in self.head.reached

    def value(self, name: str) -> str:
        """Return a tensor of the forward pass, with a row for each target if it has a batch."""
        if self.dims(name)[:1] != (None,):
            return name
        if name not in self._repeated:
            sizes, build = self.fixed(name), self.build
            ones = build.integers([1] * len(sizes))
            shape = build.add("Concat", build.integers([1]), self._targets, ones, axis=0)
            spread = build.add("Expand", build.along_axes("Unsqueeze", name, [1]), shape)
            self._repeated[name] = build.reshape(spread, [-1, *sizes])
        return self._repeated[name]

    def constant(self, node: onnx.NodeProto, position: int) -> NDArray[np.generic] | None:
        """Return the value of a node's input; None if it is absent or no small constant."""
        if position >= len(node.input):
            return None
        return self.head.constants.get(node.input[position])

    def like(self, tensor: str, name: str) -> str:
        """Reshape a gradient to the sizes of a tensor."""
        return self.build.reshape(tensor, [-1, *self.fixed(name)])

    def expanded(self, tensor: str, name: str) -> str:
        """Broadcast a gradient of the same rank to the sizes of a tensor."""
        return self.build.add("Expand", tensor, self.build.integers([1, *self.fixed(name)]))

    def unbroadcast(self, tensor: str, output: str, name: str) -> str:
        """Sum a gradient of the sizes of an output to those of a node's input."""
        outer, inner = self.dims(output), self.dims(name)
        if outer == inner:
            return tensor
        lead = len(outer) - len(inner)
        if lead:
            raise ExplanationError(f"{name!r} has fewer dimensions than {output!r}")
        axes = [axis for axis, size in enumerate(inner) if size == 1 and outer[axis] != 1]
        return self.build.total(tensor, axes) if axes else tensor

    def tensor(self, cotangent: Cotangent, name: str) -> str:
        """Return the gradient by a tensor in full."""
        if isinstance(cotangent, Spread):
            return self.expanded(cotangent.tensor, name)
        if isinstance(cotangent, Product):
            turned, weights = int(not cotangent.by_output), cotangent.weights
            outputs, *inputs = self.dims(weights)
            if len(inputs) > 1:
                weights = self.build.reshape(weights, [outputs or 0, -1])
            product = self.build.add("Gemm", cotangent.rows, weights, transB=turned)
            return product if len(cotangent.dims) == 2 else self.like(product, name)
        if isinstance(cotangent, OneHot):
            sizes = self.fixed(name)
            values = self.build.constant([0.0, 1.0])
            depth = self.build.integers([max(sizes)])
            hot = self.build.add("OneHot", cotangent.classes, depth, values, axis=-1)
            return hot if len(sizes) == 1 else self.like(hot, name)
        return cotangent


Rule = Callable[[Context, onnx.NodeProto, Sequence[str | None]], Gradients]
"""Returns the gradients by the inputs of a node from those by its outputs.

A rule may return fewer gradients than the node has inputs. The gradient by an input that
doesn't vary is ignored.
"""
LazyRule = Callable[[Context, onnx.NodeProto, Cotangent], Mapping[int, Cotangent] | None]
"""Returns gradients that aren't tensors, by the position of the input; None if it can't."""
