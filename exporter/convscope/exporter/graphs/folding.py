"""Computes the constants of a graph: shapes, indices and whatever follows from them.

ONNX Runtime's own optimizer computes them, all at once, with the kernels that
will serve the graph.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from convscope.exporter.graphs.sessions import open_graph

__all__ = ["MAX_CONSTANT_ELEMENTS", "fold_constants"]

# Shapes, axes and pads are far smaller; weights are far larger and stay as they are.
MAX_CONSTANT_ELEMENTS = 1024
# A version of ONNX Runtime that doesn't know this key ignores it, and so also
# computes large constants, which takes longer.
_MAX_BYTES_KEY = "optimization.constant_folding_max_output_size_in_bytes"
_MAX_BYTES = MAX_CONSTANT_ELEMENTS * np.dtype(np.int64).itemsize
# These depend on the shape of their input, not on its elements.
_SHAPE_OPERATORS = ("Shape", "Size")


def fold_constants(model: onnx.ModelProto) -> dict[str, NDArray[np.generic]]:
    """Replace the nodes that compute small constants with initializers.

    Args:
        model: The graph, with a fixed shape for every input. It is changed in place.

    Returns:
        The computed constants by name.

    Raises:
        ExporterError: ONNX Runtime can't open the graph.
    """
    names = frozenset(_independent_of_inputs(model.graph))
    if not names:
        return {}
    found = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in _optimized(model, names).initializer
        if tensor.name in names and np.prod(tensor.dims) <= MAX_CONSTANT_ELEMENTS
    }
    kept = [node for node in model.graph.node if not found.keys() & set(node.output)]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in found.items()
    )
    return found


def _independent_of_inputs(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the computed tensors that don't depend on the elements of any input."""
    dependent = {value.name for value in graph.input}
    for node in graph.node:
        if node.op_type not in _SHAPE_OPERATORS and dependent.intersection(node.input):
            dependent.update(node.output)
        elif node.op_type != "Constant":
            yield from filter(None, node.output)


def _optimized(model: onnx.ModelProto, names: frozenset[str]) -> onnx.GraphProto:
    """Return ONNX Runtime's optimized copy of a graph, in which these tensors keep their names."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # Only a graph output is sure to keep its name.
    shown = {value.name for value in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names - shown)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry(_MAX_BYTES_KEY, str(_MAX_BYTES))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        open_graph(copy.SerializeToString(), options)
        return onnx.load(path).graph
