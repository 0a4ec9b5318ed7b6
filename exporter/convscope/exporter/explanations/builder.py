"""Builds nodes and small constants, in the form of a graph's own opset."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike, NDArray
from onnx import helper, numpy_helper

__all__ = ["MIN_OPSET", "NodeBuilder"]

PREFIX = "explanation"
# Older opsets lack some of the operators.
MIN_OPSET = 11
_AXES_AS_INPUT = {"Squeeze": 13, "Unsqueeze": 13, "ReduceSum": 13}
_OTHER_AXES_AS_INPUT = 18


class NodeBuilder:
    """Adds nodes and constants with new names.

    Args:
        opset: The version of the standard operators.
        taken: The names that are in use.
    """

    def __init__(self, opset: int, taken: Collection[str] = ()) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}
        self._taken = set(taken)
        self._by_value: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        return self.add_all(kind, *inputs, outputs=1, **attributes)[0]

    def add_all(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Add a node; return the names of its outputs."""
        names = [self._new_name(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def constant(self, value: ArrayLike, dtype: DTypeLike = np.float32) -> str:
        """Add a constant, unless an equal one exists; return its name."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._by_value:
            self._by_value[key] = self._new_name("constant")
            self.constants[self._by_value[key]] = array
        return self._by_value[key]

    def integers(self, values: ArrayLike) -> str:
        """Add a constant of 64-bit integers."""
        return self.constant(values, np.int64)

    def initializers(self) -> list[onnx.TensorProto]:
        """Return the constants that the nodes read."""
        used = {name for node in self.nodes for name in node.input}
        return [
            numpy_helper.from_array(value, name)
            for name, value in self.constants.items()
            if name in used
        ]

    def scaled(self, tensor: str, factor: float) -> str:
        """Multiply by a number."""
        return tensor if factor == 1 else self.add("Mul", tensor, self.constant(factor))

    def limited(self, tensor: str, least: str, most: str) -> str:
        """Limit integers to an interval; older opsets have Clip for floats only."""
        above = self.add("Where", self.add("Less", tensor, least), least, tensor)
        return self.add("Where", self.add("Greater", above, most), most, above)

    def masked(self, condition: str, tensor: str) -> str:
        """Replace the elements for which the condition is false with zero."""
        return self.add("Where", condition, tensor, self.constant(0.0))

    def reshape(self, tensor: str, sizes: Sequence[int]) -> str:
        """Reshape; one size may be -1."""
        return self.add("Reshape", tensor, self.integers(sizes))

    def along_axes(self, kind: str, tensor: str, axes: Sequence[int], **attributes: Any) -> str:
        """Add a Squeeze, an Unsqueeze or a reduction."""
        if self.opset >= _AXES_AS_INPUT.get(kind, _OTHER_AXES_AS_INPUT):
            return self.add(kind, tensor, self.integers(axes), **attributes)
        return self.add(kind, tensor, axes=list(axes), **attributes)

    def mean(self, tensor: str, axes: Sequence[int]) -> str:
        """Reduce to the mean; the axes keep a size of 1."""
        return self.along_axes("ReduceMean", tensor, axes, keepdims=1)

    def total(self, tensor: str, axes: Sequence[int]) -> str:
        """Reduce to the sum; the axes keep a size of 1."""
        return self.along_axes("ReduceSum", tensor, axes, keepdims=1)

    def pad(self, tensor: str, before: Sequence[int], after: Sequence[int]) -> str:
        """Add zeros before and after each axis; negative numbers remove cells."""
        if not any((*before, *after)):
            return tensor
        return self.add("Pad", tensor, self.integers([*before, *after]))

    def slice(
        self, tensor: str, axes: Sequence[int], starts: Sequence[int], ends: Sequence[int]
    ) -> str:
        """Take the cells from start to end of some axes."""
        return self.add("Slice", tensor, *map(self.integers, (starts, ends, axes)))

    def _new_name(self, kind: str) -> str:
        number = len(self._taken)
        while (name := f"{PREFIX}/{kind}_{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name
