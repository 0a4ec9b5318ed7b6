"""Rewrites an index over trailing axes, as PyTorch exports it, so that the batch stays first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from convscope.exporter.graphs.static_graph import attribute

__all__ = ["Rewritten", "rewrite_indexing"]

Dims = tuple[int | None, ...]
Constants = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Nodes that compute the same.

    Args:
        nodes: The nodes in topological order.
        shapes: The sizes of the tensors that were replaced, with None for the batch.
        constants: The values of new constants.
    """

    nodes: Sequence[onnx.NodeProto]
    shapes: Mapping[str, Dims]
    constants: Constants


@dataclass(frozen=True, slots=True)
class _Index:
    """A tensor that is indexed by trailing axes: x[..., rows, columns].

    Args:
        first: The Transpose that moves the indexed axes to the front.
        gather: The GatherND.
        last: The Transpose that moves the others back.
        source: The sizes of the indexed tensor.
        where: The indices, [..., indexed axes].
    """

    first: onnx.NodeProto
    gather: onnx.NodeProto
    last: onnx.NodeProto
    source: Dims
    where: NDArray[np.generic]

    @property
    def kept(self) -> Dims:
        """The sizes of the axes that aren't indexed."""
        return self.source[: -self.where.shape[-1]]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the indexed axes."""
        return tuple(size or 0 for size in self.source[len(self.kept) :])

    @property
    def keeps_the_order(self) -> bool:
        """Whether trailing axes are indexed, and everything else stays in its order."""
        kept, rank, new = len(self.kept), len(self.source), self.where.ndim - 1
        before = [*range(kept, rank), *range(kept)]
        after = [*range(new, new + kept), *range(new)]
        orders = [list(attribute(node, "perm", [])) for node in (self.first, self.last)]
        return kept > 0 and orders == [before, after]

    def rewritten(self) -> Rewritten:
        """Index one axis instead: the cells of all indexed axes."""
        parts = np.moveaxis(self.where.astype(np.int64), -1, 0).reshape(len(self.sizes), -1)
        cells = np.asarray(np.ravel_multi_index(tuple(parts), self.sizes, mode="wrap"))
        flat, gathered = self.first.output[0], self.gather.output[0]
        name = f"{gathered}/cells"  # not that of the indices, which other sizes may share
        nodes = [
            helper.make_node("Reshape", [self.first.input[0], ""], [flat]),
            helper.make_node("Gather", [flat, name], [gathered], axis=len(self.kept)),
            helper.make_node("Reshape", [gathered, ""], [self.last.output[0]]),
        ]
        shapes = {flat: (*self.kept, math.prod(self.sizes)), gathered: (*self.kept, cells.size)}
        return Rewritten(nodes, shapes, {name: cells})


def rewrite_indexing(
    nodes: Sequence[onnx.NodeProto], shapes: Mapping[str, Dims], constants: Constants
) -> Rewritten:
    """Replace each Transpose, GatherND and Transpose with Reshape, Gather and Reshape.

    So PyTorch exports an index, for example that of adaptive pooling to a larger map.

    Args:
        nodes: Nodes in topological order.
        shapes: The sizes of their tensors, with None for the batch.
        constants: The values of constants.
    """
    replaced: dict[str, list[onnx.NodeProto]] = {}
    new_shapes: dict[str, Dims] = {}
    new_constants: dict[str, NDArray[np.generic]] = {}
    for index in _indices(nodes, shapes, constants):
        found = index.rewritten()
        replaced |= {node.output[0]: [] for node in (index.first, index.gather)}
        replaced[index.last.output[0]] = list(found.nodes)
        new_shapes |= found.shapes
        new_constants |= found.constants
    kept = [one for node in nodes for one in replaced.get(node.output[0], [node])]
    return Rewritten(kept, new_shapes, new_constants)


def _indices(
    nodes: Sequence[onnx.NodeProto], shapes: Mapping[str, Dims], constants: Constants
) -> list[_Index]:
    found = []
    for gather in nodes:
        if gather.op_type != "GatherND" or attribute(gather, "batch_dims", 0):
            continue
        source, where = gather.input
        first = next((node for node in nodes if source in node.output), None)
        chain = [one for name in (source, gather.output[0]) for one in nodes if name in one.input]
        types = [first and first.op_type, *(node.op_type for node in chain)]
        if types != ["Transpose", "GatherND", "Transpose"] or where not in constants:
            continue
        if first is None or first.input[0] not in shapes:
            continue
        index = _Index(first, gather, chain[1], shapes[first.input[0]], constants[where])
        if index.keeps_the_order:
            found.append(index)
    return found
