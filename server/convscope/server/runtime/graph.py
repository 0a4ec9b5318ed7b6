"""Cuts a serialized graph down to the outputs that a session needs.

The weights are neither parsed nor serialized again: the parts of the message that stay are
copied. So a session that is opened on first use doesn't block the interpreter for long, and
a server that checks no graph itself never loads the library `onnx`.
"""

from collections.abc import Collection, Iterator, Sequence
from io import BytesIO
from typing import NamedTuple

from convscope.server.runtime.wire import Field, encode_field, fields, text, texts
from convscope.v1 import manifest_pb2 as pb

__all__ = ["CLASSES", "HEAT", "HEAT_CLASSES", "LOGITS", "PROBABILITIES", "cut", "without_heat"]

PROBABILITIES, LOGITS = "probabilities", "logits"
CLASSES, HEAT, HEAT_CLASSES = "classes", "heat", "heat_classes"

# Fields of ONNX's messages.
_MODEL_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO, _SPARSE = 1, 5, 11, 12, 13, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_TENSOR_NAME, _SPARSE_VALUES, _VALUE_NAME = 8, 1, 1
# So much is copied at once; other threads run in between.
_CHUNK_BYTES = 4 * 2**20


class _Node(NamedTuple):
    field: Field
    reads: Sequence[str]
    writes: Sequence[str]


def without_heat(manifest: pb.ModelManifest, *, feature_maps: bool) -> list[str]:
    """Return the outputs of a classifier's sessions without explanations."""
    names = [spec.name for spec in manifest.feature_maps] if feature_maps else []
    return [LOGITS, PROBABILITIES, *names]


def cut(model: bytes, images: str, outputs: Collection[str]) -> bytes:
    """Return a graph with the given outputs, without anything that is computed for others.

    Args:
        model: The serialized ONNX model, which has passed the checks of bundles.
        images: The input that stays in any case.
        outputs: The names of its tensors that become its outputs: any of its own outputs, and
            other tensors.
    """
    whole = memoryview(model)
    graphs: list[Field] = []
    rest: list[Field] = []
    for field in fields(whole):
        (graphs if field.number == _MODEL_GRAPH else rest).append(field)
    # Protobuf merges repeated occurrences of a field, which is a concatenation.
    parts = [part for graph in graphs for part in _cut_graph(graph.value, images, outputs)]
    size = sum(map(len, parts))
    head = encode_field(_MODEL_GRAPH, b"", size)
    return _join([*(field.whole for field in rest), memoryview(head), *parts])


def _cut_graph(graph: memoryview, images: str, outputs: Collection[str]) -> list[memoryview]:
    """Return the parts of the GraphProto that stay."""
    content = list(fields(graph))
    nodes = [_node(field) for field in content if field.number == _NODE]
    needed = set(outputs)
    kept: set[int] = set()
    for node in reversed(nodes):  # in topological order, as ONNX requires
        if not needed.isdisjoint(node.writes):
            needed.update(node.reads)
            kept.add(id(node.field))
    parts, missing = [], set(outputs)
    for field in content:
        name = _name(field)
        if field.number == _NODE:
            stays = id(field) in kept
        elif field.number == _OUTPUT:
            stays = name in outputs
            missing.discard(name or "")
        elif field.number == _VALUE_INFO:
            stays = name in needed and name not in outputs
        elif field.number == _INPUT:
            stays = name in needed or name == images
        else:
            stays = name is None or name in needed
        if stays:
            parts.append(field.whole)
    for name in sorted(missing):  # its type and shape follow from the nodes
        value = encode_field(_VALUE_NAME, name.encode())
        parts.append(memoryview(encode_field(_OUTPUT, value)))
    return parts


def _name(field: Field) -> str | None:
    """Return the name of what a field of a GraphProto describes; None if it has no name."""
    if field.number == _INITIALIZER:
        return text(field.value, _TENSOR_NAME)
    if field.number == _SPARSE:
        values = next(f.value for f in fields(field.value) if f.number == _SPARSE_VALUES)
        return text(values, _TENSOR_NAME)
    if field.number in (_INPUT, _OUTPUT, _VALUE_INFO):
        return text(field.value, _VALUE_NAME)
    return None


def _node(field: Field) -> _Node:
    return _Node(field, list(_reads(field.value)), texts(field.value, _NODE_OUTPUT))


def _reads(node: memoryview) -> Iterator[str]:
    """Yield the names that a node reads, with those that the graphs inside it read."""
    for field in fields(node):
        if field.number == _NODE_INPUT:
            yield field.text
        elif field.number == _NODE_ATTRIBUTE:
            for part in fields(field.value):
                if part.number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    yield from _reads_of_graph(part.value)


def _reads_of_graph(graph: memoryview) -> Iterator[str]:
    for field in fields(graph):
        if field.number == _NODE:
            yield from _reads(field.value)
        elif field.number == _OUTPUT:
            yield text(field.value, _VALUE_NAME)


def _join(parts: Sequence[memoryview]) -> bytes:
    joined = BytesIO()
    for part in parts:
        for start in range(0, len(part), _CHUNK_BYTES):
            joined.write(part[start : start + _CHUNK_BYTES])
    return joined.getvalue()
