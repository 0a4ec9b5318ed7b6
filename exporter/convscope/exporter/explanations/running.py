"""Runs an explained graph, and its head alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from convscope.exporter.explanations.attach import Explanation
from convscope.exporter.explanations.heat import CLASSES, HEAT, HEAT_CLASSES
from convscope.exporter.graphs.dataflow import required
from convscope.exporter.graphs.sessions import feed_session, open_graph

__all__ = ["HeadRunner", "HeatRun", "HeatRunner"]

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeatRun:
    """The explanation of some inputs.

    Args:
        heat: float32 [N, T, positions...].
        classes: The explained classes, int64 [N, T].
        logits: float32 [N, K].
        tensor: The cut tensor, [N, ...].
        weights: The weights of its channels, [N, T, channels].
    """

    heat: Values
    classes: NDArray[np.int64]
    logits: Values
    tensor: Values
    weights: Values


class HeatRunner:
    """Runs an explained graph.

    Args:
        data: The serialized graph.
        explanation: What was added to it.

    Raises:
        ExporterError: ONNX Runtime can't open the graph.
    """

    def __init__(self, data: bytes, explanation: Explanation) -> None:
        self._names = (HEAT, HEAT_CLASSES, "logits", explanation.cut.name, explanation.heat.weights)
        shown = onnx.GraphProto(output=[onnx.ValueInfoProto(name=name) for name in self._names[3:]])
        # Concatenated messages are merged, which saves a copy of a large graph.
        merged = data + onnx.ModelProto(graph=shown).SerializeToString()
        self._session = open_graph(merged)
        self._input = self._session.get_inputs()[0].name

    def run(self, inputs: NDArray[np.generic], targets: Sequence[int]) -> HeatRun:
        """Explain the same classes or ranks for each input.

        Raises:
            ExporterError: ONNX Runtime fails.
        """
        classes = np.tile(np.array(targets, np.int64), (len(inputs), 1))
        feed = {self._input: inputs, CLASSES: classes}
        return HeatRun(*feed_session(self._session, feed, self._names))


class HeadRunner:
    """Runs the part of an explained graph after the cut tensor.

    Args:
        model: The graph.
        explanation: What was added to it.

    Raises:
        ExporterError: ONNX Runtime can't open the graph.
    """

    def __init__(self, model: onnx.ModelProto, explanation: Explanation) -> None:
        self._tensor = explanation.cut.name
        self._session: ort.InferenceSession = open_graph(_head(model, explanation))
        inputs = [value.name for value in self._session.get_inputs()]
        self._others = [name for name in inputs if name != self._tensor]

    def logits(self, tensor: Values, inputs: NDArray[np.generic]) -> Values:
        """Return the logits of values of the cut tensor, [N, K].

        Args:
            tensor: The values, [N, ...].
            inputs: The inputs of the graph, of which a head may need the shape.
        """
        feed = {self._tensor: tensor} | dict.fromkeys(self._others, inputs)
        (logits,) = feed_session(self._session, feed, ["logits"])
        return np.asarray(logits)


def _head(model: onnx.ModelProto, explanation: Explanation) -> bytes:
    graph, cut = model.graph, explanation.cut
    nodes, names = required(graph.node, ["logits"], [cut.name])
    value = helper.make_tensor_value_info(cut.name, TensorProto.FLOAT, ["batch", *cut.shape])
    head = onnx.GraphProto(
        name="head",
        node=nodes,
        initializer=[tensor for tensor in graph.initializer if tensor.name in names],
        input=[value, *(one for one in graph.input if one.name in names)],
        output=[one for one in graph.output if one.name == "logits"],
    )
    copy = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=head)
    return copy.SerializeToString()
