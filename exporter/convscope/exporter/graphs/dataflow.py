"""Which tensors of a graph depend on which, also through the graphs inside If, Loop and Scan."""

from collections.abc import Iterable, Iterator, Sequence

import onnx

__all__ = ["SHAPE_OPERATORS", "cut_to", "dependents", "reads", "required"]

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


def cut_to(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Copy the part of a model that computes some of its outputs, with the inputs it needs."""
    graph = model.graph
    nodes, names = required(graph.node, outputs)
    kept = onnx.GraphProto(
        name=graph.name,
        node=nodes,
        initializer=[tensor for tensor in graph.initializer if tensor.name in names],
        sparse_initializer=[
            tensor for tensor in graph.sparse_initializer if tensor.values.name in names
        ],
        input=[value for value in graph.input if value.name in names],
        output=[value for value in graph.output if value.name in outputs],
    )
    return onnx.ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        functions=model.functions,
        graph=kept,
    )
