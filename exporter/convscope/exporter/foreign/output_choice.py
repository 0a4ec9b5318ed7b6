"""Chooses the output with the classes, and reduces the graph to what computes it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from convscope.exporter.errors import UnknownNameError
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["ChosenOutput", "choose_output"]

_SCORES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True, slots=True)
class ChosenOutput:
    """The output with the classes.

    Args:
        tensor: Its tensor.
        labels: The names of the classes, if a map output contains them.
    """

    tensor: str
    labels: tuple[str, ...] | None = None


def choose_output(
    model: onnx.ModelProto, name: str | None, feature_maps: Iterable[str] = ()
) -> ChosenOutput:
    """Choose an output, and remove everything from the graph that it doesn't need.

    A map from labels to probabilities, as Custom Vision and scikit-learn write
    it, is replaced with its tensor.

    Args:
        model: The graph, which is changed in place.
        name: The user's choice; None for the only output with scores.
        feature_maps: Chosen inner tensors, as TENSOR or TENSOR=NAME, which are kept.

    Raises:
        UnknownNameError: The graph has no such output, or several and none is chosen.
    """
    graph = model.graph
    value = _chosen(graph, name)
    maps = {node.output[0]: node for node in graph.node if node.op_type == "ZipMap"}
    node = maps.get(value.name)
    tensor = value.name if node is None else node.input[0]
    texts = tuple(feature_maps)
    _reduce(graph, {tensor, *texts, *(text.rpartition("=")[0] for text in texts)} - {""})
    del graph.output[:]
    graph.output.add().CopyFrom(value if node is None else onnx.ValueInfoProto(name=tensor))
    return ChosenOutput(tensor, None if node is None else _map_labels(node))


def _chosen(graph: onnx.GraphProto, name: str | None) -> onnx.ValueInfoProto:
    values = {value.name: value for value in graph.output}
    if name is not None and name in values:
        return values[name]
    candidates = [value for value in graph.output if _may_be_scores(value)]
    if name is None and len(candidates or values) == 1:
        return (candidates or list(graph.output))[0]
    problem = f"no output {name!r}" if name else "several outputs; choose one with --output"
    raise UnknownNameError(f"the graph has {problem}; available: {', '.join(values)}")


def _may_be_scores(value: onnx.ValueInfoProto) -> bool:
    """Report whether an output may contain scores, rather than names or numbers of classes."""
    kind = value.type
    return not kind.HasField("tensor_type") or kind.tensor_type.elem_type in (0, *_SCORES)


def _map_labels(node: onnx.NodeProto) -> tuple[str, ...] | None:
    names = attribute(node, "classlabels_strings", None)
    if names:
        return tuple(one.decode(errors="replace") for one in names)
    numbers = attribute(node, "classlabels_int64s", None)
    return tuple(map(str, numbers)) if numbers else None


def _reduce(graph: onnx.GraphProto, tensors: set[str]) -> None:
    """Keep only the nodes and constants that some tensors need."""
    needed, kept = set(tensors), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(_read_by(node))
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept[::-1])
    constants = [one for one in graph.initializer if one.name in needed]
    dropped = {one.name for one in graph.initializer} - needed
    inputs = [one for one in graph.input if one.name not in dropped]
    del graph.initializer[:], graph.input[:]
    graph.initializer.extend(constants)
    graph.input.extend(inputs)


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node or its subgraphs read."""
    yield from node.input
    for one in node.attribute:
        for graph in (*one.graphs, *([one.g] if one.HasField("g") else [])):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _read_by(inner)
