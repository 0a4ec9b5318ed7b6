"""The graph contract: self-contained, standard operators, and the manifest's input and outputs."""

from collections.abc import Iterable, Iterator

import onnx
from google.protobuf.message import DecodeError

from convscope.bundle.errors import BundleRejectedError, reason_of
from convscope.bundle.layout import GRAPH
from convscope.bundle.light_graph import without_large_weights
from convscope.bundle.suggestions import it_has
from convscope.v1 import manifest_pb2 as pb

__all__ = ["check_graph", "parse_graph"]

_ELEMENTS = {
    pb.DATA_TYPE_UINT8: onnx.TensorProto.UINT8,
    pb.DATA_TYPE_FLOAT32: onnx.TensorProto.FLOAT,
}
_DEFAULT_DOMAINS = ("", "ai.onnx")
# Large networks have some thousands.
MAX_PARTS = 200_000

Graph = onnx.GraphProto | onnx.FunctionProto
Shape = tuple[int | None, ...]
"""Sizes; None for the batch and for the number of explained classes."""
Described = tuple[int, Shape]
"""An element type and a shape."""


def parse_graph(data: bytes) -> onnx.ModelProto:
    """Parse the bytes of model.onnx.

    Raises:
        BundleRejectedError: They aren't an ONNX model.
    """
    try:
        return onnx.load_model_from_string(data)
    except DecodeError as error:
        raise BundleRejectedError(
            "graph", f"{GRAPH} is not an ONNX model; export the bundle again"
        ) from error


def check_graph(model: onnx.ModelProto, manifest: pb.ModelManifest) -> None:
    """Check a graph against the contract.

    Args:
        model: The graph.
        manifest: A manifest that passed `check_manifest`.

    Raises:
        BundleRejectedError: The graph refers to external data, uses operators
            beyond the standard ones, isn't valid, or its input or outputs
            aren't those of the manifest.
    """
    graphs = list(_graphs(model))
    _check_size(graphs)
    if any(map(_is_external, _tensors(graphs))):
        raise BundleRejectedError(
            "graph", "a tensor refers to external data; embed it and export the bundle again"
        )
    domains = {node.domain for graph in graphs for node in graph.node}
    if foreign := sorted(domains.difference(_DEFAULT_DOMAINS)):
        raise BundleRejectedError(
            "graph",
            f"the graph has operators of the domain {foreign[0]!r}; only standard ONNX "
            "operators are allowed",
        )
    _check_opset(model)
    try:
        # In full: the declared shapes are compared with those that follow from the nodes.
        onnx.checker.check_model(without_large_weights(model), full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,  # an element type that onnx doesn't know
    ) as error:
        raise BundleRejectedError(
            "graph", f"the graph is not valid ONNX: {reason_of(error)[:200]}"
        ) from error
    embedded = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in embedded]
    _compare("input", inputs, _stated_inputs(manifest))
    _compare("output", model.graph.output, _stated_outputs(manifest))
    if manifest.HasField("explanation"):
        _check_explanation(model.graph, manifest.explanation.tensor)


def _check_size(graphs: Iterable[Graph]) -> None:
    """Check the number of parts, because everything that follows takes time for each of them."""
    parts = 0
    for graph in graphs:
        parts += len(graph.node) + len(graph.value_info) + len(graph.input) + len(graph.output)
        if isinstance(graph, onnx.GraphProto):
            parts += len(graph.initializer) + len(graph.sparse_initializer)
    if parts > MAX_PARTS:
        raise BundleRejectedError(
            "graph",
            f"the graph has {parts:,} nodes, weights and described tensors; at most "
            f"{MAX_PARTS:,} are allowed",
        )


def _check_opset(model: onnx.ModelProto) -> None:
    known = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in _DEFAULT_DOMAINS and entry.version > known:
            raise BundleRejectedError(
                "graph",
                f"the graph uses opset {entry.version}; this release knows up to {known}, so "
                "export the bundle again with an earlier one",
            )


def _check_explanation(graph: onnx.GraphProto, tensor: str) -> None:
    """Check that the differentiated tensor exists and that only the explanation reads "classes"."""
    dependent = {"classes"}
    made: set[str] = set()
    for node in graph.node:  # in topological order, which the checker ensures
        made.update(node.output)
        if not dependent.isdisjoint(_reads(node)):
            dependent.update(node.output)
    if tensor not in made:
        raise BundleRejectedError(
            "graph", f"the graph lacks the tensor {tensor[:200]!r} of the manifest's explanation"
        )
    outputs = {output.name for output in graph.output}
    if wrong := sorted(outputs.intersection(dependent).difference(("heat", "heat_classes"))):
        raise BundleRejectedError(
            "graph", f"the output {wrong[0]!r} depends on the input 'classes'; only the heat may"
        )


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names that a node reads, with those that the graphs inside it read."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from _reads(inner)


def _stated_inputs(manifest: pb.ModelManifest) -> dict[str, Described]:
    spec = manifest.input
    inputs: dict[str, Described] = {spec.name: (_ELEMENTS[spec.dtype], (None, *spec.shape))}
    if manifest.HasField("explanation"):
        inputs["classes"] = (onnx.TensorProto.INT64, (None, None))
    return inputs


def _stated_outputs(manifest: pb.ModelManifest) -> dict[str, Described]:
    shapes: dict[str, Shape] = {}
    if manifest.task == pb.TASK_CLASSIFICATION:
        shapes = dict.fromkeys(("logits", "probabilities"), (None, len(manifest.labels)))
    for spec in manifest.feature_maps:
        shapes[spec.name] = (None, spec.channels, spec.height, spec.width)
    if manifest.HasField("explanation"):
        shapes["heat"] = (None, None, *manifest.explanation.positions)
    outputs: dict[str, Described] = {
        name: (onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()
    }
    if manifest.HasField("explanation"):
        outputs["heat_classes"] = (onnx.TensorProto.INT64, (None, None))
    return outputs


def _compare(
    role: str, values: Iterable[onnx.ValueInfoProto], stated: dict[str, Described]
) -> None:
    found = {value.name: _found(value) for value in values}
    if missing := sorted(stated.keys() - found.keys()):
        raise BundleRejectedError(
            "graph",
            f"the graph lacks the {role} {missing[0]!r} of the manifest; "
            + it_has(sorted(found))[:200],
        )
    if extra := sorted(found.keys() - stated.keys()):
        raise BundleRejectedError(
            "graph",
            f"the graph has an {role} {extra[0]!r} that the manifest doesn't state; "
            f"it states: {', '.join(sorted(stated))[:200]}",
        )
    for name, expected in stated.items():
        if found[name] != expected:
            raise BundleRejectedError(
                "graph",
                f"the {role} {name!r} is {_describe(*found[name])}, "
                f"the manifest says {_describe(*expected)}",
            )


def _found(value: onnx.ValueInfoProto) -> Described:
    tensor = value.type.tensor_type
    return tensor.elem_type, tuple(
        dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim
    )


def _describe(element: int, shape: Shape) -> str:
    known = element in onnx.TensorProto.DataType.values()
    name = onnx.TensorProto.DataType.Name(element).lower() if known else f"type {element}"
    return f"{name} [{', '.join('N' if size is None else str(size) for size in shape)}]"


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.external_data) or tensor.data_location == onnx.TensorProto.EXTERNAL


def _graphs(model: onnx.ModelProto) -> Iterator[Graph]:
    """The graph, its functions, and every graph inside the attributes of their nodes."""
    pending: list[Graph] = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        yield graph
        for attribute in _attributes(graph):
            pending.extend(attribute.graphs)
            if attribute.HasField("g"):
                pending.append(attribute.g)


def _attributes(graph: Graph) -> Iterator[onnx.AttributeProto]:
    for node in graph.node:
        yield from node.attribute


def _tensors(graphs: Iterable[Graph]) -> Iterator[onnx.TensorProto]:
    """Every tensor, wherever ONNX allows one."""
    for graph in graphs:
        sparse: list[onnx.SparseTensorProto] = []
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            sparse.extend(graph.sparse_initializer)
        for attribute in _attributes(graph):
            yield attribute.t
            yield from attribute.tensors
            sparse.extend((attribute.sparse_tensor, *attribute.sparse_tensors))
        for one in sparse:
            yield from (one.values, one.indices)
