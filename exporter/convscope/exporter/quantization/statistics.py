"""What calibration measures in one pass: the range of each tensor, and each layer's inputs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.graphs.sessions import open_graph, run_session
from convscope.exporter.quantization.layers import Layer
from convscope.exporter.quantization.patches import sample_patches
from convscope.exporter.quantization.ranges import Range, TensorRange
from convscope.exporter.quantization.rounding import MAX_COLUMNS

__all__ = ["LayerInputs", "Statistics", "batches", "gather", "with_outputs"]

BATCH = 4


class LayerInputs:
    """The first and second moments of the inputs of a layer's outputs.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: Layer) -> None:
        columns = layer.rows.shape[1]
        self._products = columns <= MAX_COLUMNS
        side = columns if self._products else 0
        self._moments = np.zeros((layer.groups, side, side))
        self._sums = np.zeros((layer.groups, columns))
        self._count = 0

    def add(self, patches: NDArray[np.float32]) -> None:
        """Add patches, [groups, n, inputs of an output]."""
        if self._products:
            self._moments += np.matmul(patches.transpose(0, 2, 1), patches)
        self._sums += patches.sum(axis=1, dtype=np.float64)
        self._count += patches.shape[1]

    @property
    def moments(self) -> NDArray[np.float64] | None:
        """The sums of products, [groups, K, K]; None for a layer that is too large."""
        return self._moments if self._products else None

    @property
    def means(self) -> NDArray[np.float64]:
        """The mean of each input, [groups, K]."""
        return self._sums / self._count


@dataclass(frozen=True, slots=True)
class Statistics:
    """The statistics of a graph for the calibration inputs.

    Args:
        ranges: The range of each tensor by name.
        inputs: The inputs of each layer by the layer's name.
    """

    ranges: Mapping[str, Range]
    inputs: Mapping[str, LayerInputs]


def gather(
    model: onnx.ModelProto, layers: Sequence[Layer], inputs: NDArray[np.generic]
) -> Statistics:
    """Run the calibration inputs through a graph in FP32.

    Args:
        model: The prepared graph.
        layers: Its layers.
        inputs: The calibration inputs, [n, ...].
    """
    same = _same_ranges(model)
    needed = {layer.node.input[0] for layer in layers}
    names = [name for name in _activations(model) if name not in same or name in needed]
    session = open_graph(with_outputs(model, names).SerializeToString())
    (input_name,) = (value.name for value in session.get_inputs())
    measured = [*names, input_name] if inputs.dtype == np.float32 else names  # pixels need none
    ranges = {name: TensorRange(len(inputs)) for name in measured}
    seen = {layer.name: LayerInputs(layer) for layer in layers}
    random = np.random.default_rng(0)
    for batch in batches(inputs):
        values = dict(zip(names, run_session(session, input_name, batch, names), strict=True))
        values[input_name] = np.asarray(batch, np.float32)
        for name in measured:
            ranges[name].add(values[name])
        for layer in layers:
            seen[layer.name].add(sample_patches(layer, values[layer.node.input[0]], random))
    found = {name: one.range for name, one in ranges.items()}
    return Statistics(found | {name: found[source] for name, source in same.items()}, seen)


def _same_ranges(model: onnx.ModelProto) -> dict[str, str]:
    """Return the tensors that only an activation function reads, and the tensor that it returns.

    The values that it cuts off need no range.
    """
    outputs = {value.name for value in model.graph.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return {
        name: nodes[0].output[0]
        for name, nodes in readers.items()
        if [node.op_type for node in nodes] in (["Relu"], ["Clip"])
        and nodes[0].input[0] == name
        and name not in outputs
    }


def batches(inputs: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    """Yield the inputs in small batches."""
    for start in range(0, len(inputs), BATCH):
        yield inputs[start : start + BATCH]


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Copy a model, with these tensors as its outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


def _activations(model: onnx.ModelProto) -> list[str]:
    """Return the float tensors that depend on the input."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    computed = {name for node in graph.node for name in node.output}
    return [
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name in computed
    ]
