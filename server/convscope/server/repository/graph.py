"""Checks an ONNX graph against its manifest, and cuts feature maps out of it."""

from collections.abc import Iterable, Iterator

import onnx
from google.protobuf.message import DecodeError

from convscope.server.errors import BundleRejectedError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["check_graph", "parse_graph", "without_feature_maps"]

_ELEMENTS = {
    pb.DATA_TYPE_UINT8: onnx.TensorProto.UINT8,
    pb.DATA_TYPE_FLOAT16: onnx.TensorProto.FLOAT16,
    pb.DATA_TYPE_FLOAT32: onnx.TensorProto.FLOAT,
}
_DEFAULT_DOMAINS = ("", "ai.onnx")

Shape = tuple[int | None, ...]


def parse_graph(data: bytes) -> onnx.ModelProto:
    """Parse the bytes of an ONNX file.

    Raises:
        BundleRejectedError: They aren't one.
    """
    try:
        return onnx.load_from_string(data)
    except DecodeError as error:
        raise BundleRejectedError("graph", "model.onnx is not an ONNX model") from error


def check_graph(model: onnx.ModelProto, manifest: pb.ModelManifest) -> None:
    """Check that a graph is self-contained and has the manifest's input and outputs.

    Raises:
        BundleRejectedError: It refers to external data, uses operators beyond
            the standard ones, or its input or outputs aren't those stated.
    """
    if any(map(_is_external, _tensors(model))):
        raise BundleRejectedError("graph", "a tensor refers to external data; embed it")
    domains = {node.domain for graph in _graphs(model) for node in graph.node}
    if foreign := sorted(domains.difference(_DEFAULT_DOMAINS)):
        raise BundleRejectedError("graph", f"operators of the domain {foreign[0]!r} are not run")
    try:
        # In full: the stated shapes are held against those that follow from the nodes.
        onnx.checker.check_model(model, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,  # an element type that onnx doesn't know
    ) as error:
        reason = str(error).splitlines()[0][:200]
        raise BundleRejectedError("graph", f"the graph is not valid ONNX: {reason}") from error
    embedded = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in embedded]
    _compare("input", inputs, _stated_input(manifest))
    _compare("output", model.graph.output, _stated_outputs(manifest))


def without_feature_maps(model: onnx.ModelProto, manifest: pb.ModelManifest) -> bytes:
    """Serialise the graph without its feature-map outputs, so that nothing computes for them."""
    names = {spec.name for spec in manifest.feature_maps}
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    kept = [value for value in plain.graph.output if value.name not in names]
    del plain.graph.output[:]
    plain.graph.output.extend(kept)
    return plain.SerializeToString()


def _stated_input(manifest: pb.ModelManifest) -> dict[str, tuple[int, Shape]]:
    spec = manifest.input
    return {spec.name: (_ELEMENTS[spec.dtype], (None, *spec.shape))}


def _stated_outputs(manifest: pb.ModelManifest) -> dict[str, tuple[int, Shape]]:
    count = len(manifest.labels)
    heads = ("logits", "probabilities") if manifest.task == pb.TASK_CLASSIFICATION else ()
    shapes: dict[str, Shape] = dict.fromkeys(heads, (None, count))
    for spec in manifest.feature_maps:
        shapes[spec.name] = (None, spec.channels, spec.height, spec.width)
    return {name: (onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()}


def _compare(
    role: str, values: Iterable[onnx.ValueInfoProto], stated: dict[str, tuple[int, Shape]]
) -> None:
    found = {value.name: _type_and_shape(value) for value in values}
    if missing := sorted(stated.keys() - found.keys()):
        raise BundleRejectedError("graph", f"the graph lacks the {role} {missing[0]!r}")
    if extra := sorted(found.keys() - stated.keys()):
        raise BundleRejectedError(
            "graph", f"the graph has an {role} {extra[0]!r} that the manifest doesn't state"
        )
    for name, expected in stated.items():
        if found[name] != expected:
            raise BundleRejectedError(
                "graph",
                f"the {role} {name!r} is {_describe(*found[name])}, "
                f"the manifest says {_describe(*expected)}",
            )


def _type_and_shape(value: onnx.ValueInfoProto) -> tuple[int, Shape]:
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


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """The graph, its functions, and every graph inside their nodes' attributes."""
    pending: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        yield graph
        for attribute in _attributes(graph):
            pending.extend(attribute.graphs)
            if attribute.HasField("g"):
                pending.append(attribute.g)


def _attributes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.AttributeProto]:
    for node in graph.node:
        yield from node.attribute


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that a model holds, wherever ONNX allows one."""
    for graph in _graphs(model):
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for attribute in _attributes(graph):
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
