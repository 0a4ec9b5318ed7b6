"""The gate for batch independence: an image's result is the same in any batch.

The server batches the images of different callers.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from convscope.exporter.errors import ExporterError, ParityError
from convscope.exporter.graphs.comparison import BATCHES, TOLERANCE
from convscope.exporter.graphs.sessions import Arrays, open_graph, run_session
from convscope.exporter.graphs.static_graph import attribute

__all__ = ["check_independence", "check_operators"]

_CAUSES = {
    "BatchNormalization": "batch normalization in training mode; call model.eval() before the "
    "export",
    "DynamicQuantizeLinear": "dynamic quantization, which computes one scale for the whole batch; "
    "use static quantization, or the original float graph",
    "Softmax": "a softmax over the batch axis; apply it to the axis of the classes",
    "LogSoftmax": "a log-softmax over the batch axis; apply it to the axis of the classes",
    "Reshape": "a reshape that mixes the images of a batch; keep the batch as the first dimension",
    "Flatten": "a reshape that mixes the images of a batch; keep the batch as the first dimension",
}
_DROPOUT_INPUTS = 3  # with the one that switches it on
_RANDOM = (
    *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"),
    *("RandomUniform", "RandomUniformLike"),
)
_REDUCTION = "a mean, sum or maximum over the batch axis, such as batch normalization in training "
_REDUCTION += "mode; call model.eval() before the export, and reduce over the other axes only"


def check_operators(model: onnx.ModelProto) -> None:
    """Reject operators whose results depend on the batch or on chance by definition.

    Raises:
        ParityError: The graph has such an operator.
    """
    nodes = list(_all_nodes(model.graph))
    constants: dict[str, onnx.TensorProto | None] = {
        tensor.name: tensor for tensor in model.graph.initializer
    }
    constants |= {
        node.output[0]: attribute(node, "value", None)
        for node in nodes
        if node.op_type == "Constant"
    }
    for node in nodes:
        trains = node.op_type == "BatchNormalization" and attribute(node, "training_mode", 0)
        if trains or node.op_type == "DynamicQuantizeLinear":
            raise ParityError(_message(node))
        if node.op_type in _RANDOM or _drops(node, constants):
            raise ParityError(
                f"the result of an image differs from run to run, because {node.op_type} "
                f"{node.name or node.output[0]!r} is random; export the model in evaluation mode"
            )


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the branches and loops in it."""
    for node in graph.node:
        yield node
        for one in node.attribute:
            for inner in (*one.graphs, *([one.g] if one.HasField("g") else [])):
                yield from _all_nodes(inner)


def _drops(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto | None]) -> bool:
    """Report whether a dropout is active."""
    if node.op_type != "Dropout" or len(node.input) < _DROPOUT_INPUTS or not node.input[-1]:
        return False
    constant = constants.get(node.input[-1])
    return constant is None or bool(numpy_helper.to_array(constant).any())


def check_independence(
    model: onnx.ModelProto,
    session: ort.InferenceSession,
    inputs: NDArray[np.generic],
    alone: Arrays,
) -> None:
    """Compare the outputs of batches with those of the same images alone.

    Args:
        model: The bundle's graph.
        session: The same graph, opened.
        inputs: Different inputs with finite results, [n, ...]. They are repeated
            if a batch needs more.
        alone: Each output for each of them, run alone, [n, ...].

    Raises:
        ParityError: The result of an image depends on the other images of its
            batch, or the graph can't run a batch; the message names the cause.
    """
    (name,) = (value.name for value in session.get_inputs())
    for batch in (size for size in BATCHES if size > 1):
        for rows in _batches(len(inputs), batch):
            try:
                together = run_session(session, name, inputs[rows], list(alone))
            except ExporterError as error:
                raise ParityError(
                    f"the graph can't run a batch of {batch} images, which the server needs: "
                    f"{error}; export it again with a dynamic batch"
                ) from error
            for key, values in zip(alone, together, strict=True):
                _check_length(key, values, batch)
                if not _equal(values, alone[key][rows]):
                    raise ParityError(_dependence(model, name, inputs[rows]))


def _batches(count: int, batch: int) -> Iterator[list[int]]:
    for start in range(0, count, batch):
        yield [index % count for index in range(start, start + batch)]


def _check_length(name: str, values: NDArray[np.float32], batch: int) -> None:
    if len(values) != batch:
        raise ParityError(
            f"the graph returns {len(values)} of {name!r} for {batch} images: it has a fixed batch "
            "inside; export it again with a dynamic batch"
        )


def _equal(ours: NDArray[np.generic], expected: NDArray[np.generic]) -> bool:
    """Compare within the tolerance; non-finite values must be equal."""
    finite = np.isfinite(expected)
    if ours.shape != expected.shape or not np.array_equal(finite, np.isfinite(ours)):
        return False
    if not finite.any():
        return True
    magnitude = float(np.abs(expected[finite]).max()) or 1.0
    return float(np.abs(ours[finite] - expected[finite]).max()) <= TOLERANCE * magnitude


def _dependence(model: onnx.ModelProto, name: str, rows: NDArray[np.generic]) -> str:
    node = _first_mixing_node(model, name, rows)
    if node is None:
        return (
            "the result of an image depends on the other images in its batch; export the network "
            "in evaluation mode"
        )
    return _message(node)


def _message(node: onnx.NodeProto) -> str:
    cause = _CAUSES.get(node.op_type) or (
        _REDUCTION if node.op_type.startswith("Reduce") else f"the operator {node.op_type}"
    )
    return (
        "the result of an image depends on the other images in its batch. The likely cause is "
        f"{cause} ({node.op_type} {node.name or node.output[0]!r})"
    )


def _first_mixing_node(
    model: onnx.ModelProto, name: str, rows: NDArray[np.generic]
) -> onnx.NodeProto | None:
    """Return the first node whose result for the first image depends on the batch."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    shown = {value.name for value in copy.graph.output}
    inner = [key for node in copy.graph.node for key in node.output if key]
    copy.graph.output.extend(onnx.ValueInfoProto(name=key) for key in inner if key not in shown)
    try:
        session = open_graph(copy.SerializeToString())
        together = dict(zip(inner, run_session(session, name, rows, inner), strict=True))
        alone = dict(zip(inner, run_session(session, name, rows[:1], inner), strict=True))
    except ExporterError:
        return None
    for node in copy.graph.node:
        if any(key and _mixes(alone[key], together[key], len(rows)) for key in node.output):
            return node
    return None


def _mixes(alone: NDArray[np.generic], together: NDArray[np.generic], batch: int) -> bool:
    if not np.issubdtype(alone.dtype, np.floating):
        return False
    if alone.shape == together.shape:
        return not _equal(together, alone)
    if alone.ndim and together.shape == (batch * len(alone), *alone.shape[1:]):
        return not _equal(together[: len(alone)], alone)
    return False
