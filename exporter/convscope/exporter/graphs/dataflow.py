"""Which tensors of a graph depend on which, also through the graphs inside If, Loop and Scan."""

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

import onnx

__all__ = ["SHAPE_OPERATORS", "crossed", "dependents", "reads", "required"]

_Value = TypeVar("_Value", bound=Hashable)

# Their outputs depend on the shape of their input, not on its elements.
SHAPE_OPERATORS = frozenset({"Shape", "Size"})


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names that a node reads, with those that the graphs inside it capture."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from reads(inner)


def dependents(nodes: Iterable[onnx.NodeProto], sources: Iterable[str]) -> set[str]:
    """Return the tensors that depend on the elements of the sources, and the sources.

    Args:
        nodes: The nodes in topological order.
        sources: The names of tensors.
    """
    found = set(sources)
    for node in nodes:
        if node.op_type not in SHAPE_OPERATORS and not found.isdisjoint(reads(node)):
            found.update(filter(None, node.output))
    return found


def required(
    nodes: Sequence[onnx.NodeProto], outputs: Iterable[str], given: Iterable[str] = ()
) -> tuple[list[onnx.NodeProto], set[str]]:
    """Return the nodes that compute the outputs, and every name that they need.

    Args:
        nodes: The nodes in topological order.
        outputs: The names of the computed tensors.
        given: The names of tensors that aren't computed.
    """
    names, known = set(outputs), set(given)
    kept = []
    for node in reversed(nodes):
        if not names.isdisjoint(set(node.output) - known):
            kept.append(node)
            names.update(reads(node))
    return kept[::-1], names


def crossed(
    steps: Sequence[tuple[Collection[_Value], Collection[_Value]]], ends: Collection[_Value]
) -> list[_Value]:
    """Return the values that every path crosses, in order.

    Args:
        steps: The values that each step computes and reads, in topological order. Only
            values on a path from the start to an end count.
        ends: The values at the end of the paths.
    """
    last_read = {value: step for step, (_, read) in enumerate(steps) for value in read}
    last_read |= dict.fromkeys(ends, len(steps))
    found: list[_Value] = []
    live: set[_Value] = set()
    for step, (computed, _) in enumerate(steps):
        live = {value for value in live if last_read[value] > step} | set(computed)
        if len(live) == 1:
            found.extend(live)
    return found
