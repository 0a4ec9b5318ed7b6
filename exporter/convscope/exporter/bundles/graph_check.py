"""The contract of a bundle's graph: self-contained, standard, and as the manifest says."""

from collections.abc import Iterable, Iterator

import onnx

from convscope.exporter.bundles.reader import BundleError
from convscope.exporter.errors import reason
from convscope.v1 import manifest_pb2 as pb

__all__ = ["check_graph"]

_ELEMENTS = {
    pb.DATA_TYPE_UINT8: onnx.TensorProto.UINT8,
    pb.DATA_TYPE_FLOAT16: onnx.TensorProto.FLOAT16,
    pb.DATA_TYPE_FLOAT32: onnx.TensorProto.FLOAT,
}

Graph = onnx.GraphProto | onnx.FunctionProto
Described = tuple[str, list[str]]


def check_graph(model: onnx.ModelProto, manifest: pb.ModelManifest) -> None:
    """Check a graph against the contract.

    Raises:
        BundleError: It refers to external data, uses other operators than the
            standard ones, isn't valid, or hasn't the manifest's input and outputs.
    """
    graphs = list(_graphs(model))
    if any(tensor.external_data or tensor.data_location for tensor in _tensors(graphs)):
        raise BundleError("a tensor refers to external data; embed it and publish again")
    domains = {node.domain for graph in graphs for node in graph.node}
    if foreign := sorted(domains.difference(("", "ai.onnx"))):
        raise BundleError(f"operators of the domain {foreign[0]!r} are not run")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,  # an element type that onnx doesn't know
    ) as error:
        raise BundleError(f"the graph is not valid ONNX: {reason(error)}") from error
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    _compare("input", inputs, _stated_input(manifest))
    _compare("output", model.graph.output, _stated_outputs(manifest))


def _stated_input(manifest: pb.ModelManifest) -> dict[str, Described]:
    spec = manifest.input
    return {spec.name: _described(_ELEMENTS[spec.dtype], spec.shape)}


def _stated_outputs(manifest: pb.ModelManifest) -> dict[str, Described]:
    shapes: dict[str, list[int]] = {}
    if manifest.task == pb.TASK_CLASSIFICATION:
        shapes = {name: [len(manifest.labels)] for name in ("logits", "probabilities")}
    for spec in manifest.feature_maps:
        shapes[spec.name] = [spec.channels, spec.height, spec.width]
    return {name: _described(onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()}


def _described(element: int, shape: Iterable[int]) -> Described:
    return onnx.TensorProto.DataType.Name(element).lower(), ["N", *map(str, shape)]


def _compare(
    role: str, values: Iterable[onnx.ValueInfoProto], stated: dict[str, Described]
) -> None:
    found = {value.name: _found(value) for value in values}
    if missing := sorted(stated.keys() - found.keys()):
        raise BundleError(f"the graph lacks the {role} {missing[0]!r}")
    if extra := sorted(found.keys() - stated.keys()):
        raise BundleError(f"the graph has an {role} {extra[0]!r} that the manifest doesn't state")
    for name, (element, shape) in stated.items():
        if found[name] != (element, shape):
            theirs, sizes = found[name]
            raise BundleError(
                f"the {role} {name!r} is {theirs} [{', '.join(sizes)}], the manifest says "
                f"{element} [{', '.join(shape)}]"
            )


def _found(value: onnx.ValueInfoProto) -> Described:
    tensor = value.type.tensor_type
    sizes = [str(dim.dim_value) if dim.HasField("dim_value") else "N" for dim in tensor.shape.dim]
    return onnx.TensorProto.DataType.Name(tensor.elem_type).lower(), sizes


def _graphs(model: onnx.ModelProto) -> Iterator[Graph]:
    """The graph, its functions, and every graph inside their nodes' attributes."""
    pending: list[Graph] = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                pending.extend(attribute.graphs)
                if attribute.HasField("g"):
                    pending.append(attribute.g)


def _tensors(graphs: Iterable[Graph]) -> Iterator[onnx.TensorProto]:
    """Every tensor, wherever ONNX allows one."""
    for graph in graphs:
        sparse: list[onnx.SparseTensorProto] = []
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            sparse.extend(graph.sparse_initializer)
        for node in graph.node:
            for attribute in node.attribute:
                yield attribute.t
                yield from attribute.tensors
                sparse.extend((attribute.sparse_tensor, *attribute.sparse_tensors))
        for one in sparse:
            yield from (one.values, one.indices)
