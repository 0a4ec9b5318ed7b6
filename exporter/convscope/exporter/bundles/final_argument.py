"""Lets the logits of an older graph be the argument of its final activation.

Earlier releases computed the logits of a network that ends in an activation from its
probabilities. Such logits have no gradient where a probability is rounded to 1.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from convscope.exporter.graphs.dataflow import dependents, required
from convscope.exporter.graphs.sessions import feed_session, open_graph
from convscope.exporter.outputs.ending import Ending, Operation, classify, saturating
from convscope.exporter.outputs.graph_operations import operations
from convscope.exporter.outputs.semantics import Activation, Semantics

__all__ = ["use_argument"]

_OLD = "explanation/logits_of_probabilities"
_HALVES = "explanation/halves"


@dataclass(frozen=True, slots=True)
class _Argument:
    """The argument of the activation that computes the probabilities.

    Args:
        tensor: Its name.
        semantics: What its activation computes.
    """

    tensor: str
    semantics: Semantics


def use_argument(
    model: onnx.ModelProto, inputs: NDArray[np.generic], classes: int
) -> NDArray[np.float32] | None:
    """Replace the logits of a graph, if they saturate and the argument is recognized.

    Args:
        model: The graph. It is changed in place if the logits are replaced.
        inputs: The golden inputs, [n, ...].
        classes: The number of classes.

    Returns:
        The new logits of the golden inputs, [n, K]; None if they are unchanged.
    """
    known = operations(model.graph)
    if saturating(known.get("logits")) is None:
        return None
    argument = _argument(known.get("probabilities"), classes)
    if argument is None or argument.tensor in dependents(model.graph.node, ["logits"]):
        return None  # or the probabilities are computed from the logits
    if not _fits(model, argument, inputs):
        return None
    _replace_logits(model.graph, argument)
    session = open_graph(model.SerializeToString())
    (logits,) = feed_session(session, {session.get_inputs()[0].name: inputs}, ["logits"])
    return np.asarray(logits)


def _argument(last: Operation[str] | None, classes: int) -> _Argument | None:
    ending, outputs = classify(last), classes
    if last is not None and last.name == "Exp":
        ending = classify(last.arguments[0])  # of log-probabilities
    if classes == 2 and ending.kind == "unknown" and last is not None:
        ending, outputs = _of_second_class(last), 1
    if ending.argument is None or ending.kind in ("linear", "unknown"):
        return None
    activation: Activation = "sigmoid" if ending.kind == "sigmoid" else "softmax"
    return _Argument(ending.argument, Semantics(outputs, "probabilities", activation))


def _of_second_class(last: Operation[str]) -> Ending[str]:
    """Return the ending of p in [1 - p, p], the probabilities of a binary classifier."""
    if last.name == "Concat" and len(last.arguments) == 2:
        return classify(last.arguments[1])
    return Ending("unknown")


def _fits(model: onnx.ModelProto, argument: _Argument, inputs: NDArray[np.generic]) -> bool:
    shown = onnx.GraphProto(output=[onnx.ValueInfoProto(name=argument.tensor)])
    # Concatenated messages are merged, which saves a copy of a large graph.
    data = model.SerializeToString() + onnx.ModelProto(graph=shown).SerializeToString()
    session = open_graph(data)
    names = [argument.tensor, "probabilities"]
    values, probabilities = feed_session(session, {session.get_inputs()[0].name: inputs}, names)
    outputs = argument.semantics.outputs
    return values.dtype == np.float32 and argument.semantics.has_argument(
        values.reshape(len(values), -1), probabilities[:, -outputs:]
    )


def _replace_logits(graph: onnx.GraphProto, argument: _Argument) -> None:
    _rename_logits(graph.node)
    if argument.semantics.is_binary:
        flat = f"{_OLD}/flat"
        halves = np.array([[-0.5, 0.5]], np.float32)
        graph.initializer.append(numpy_helper.from_array(halves, _HALVES))
        graph.node.append(helper.make_node("Flatten", [argument.tensor], [flat], axis=1))
        graph.node.append(helper.make_node("Mul", [flat, _HALVES], ["logits"]))
    else:
        graph.node.append(helper.make_node("Flatten", [argument.tensor], ["logits"], axis=1))
    nodes, _ = required(graph.node, [value.name for value in graph.output])
    del graph.node[:]
    graph.node.extend(nodes)


def _rename_logits(nodes: Iterable[onnx.NodeProto]) -> None:
    """Rename the old logits, also where the graphs inside If, Loop and Scan capture them."""
    for node in nodes:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == "logits":
                    names[position] = _OLD
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename_logits(inner.node)
                # A graph may have its own tensor of this name.
                for value in (*inner.input, *inner.output):
                    value.name = _OLD if value.name == "logits" else value.name
                for tensor in inner.initializer:
                    tensor.name = _OLD if tensor.name == "logits" else tensor.name
