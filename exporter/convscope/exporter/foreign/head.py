"""Finds the logits or probabilities at the end of a foreign graph."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from convscope.exporter.errors import ExporterError, UnknownNameError
from convscope.exporter.graphs.static_graph import StaticGraph

__all__ = ["TINY", "Activation", "Head", "find_head", "find_output"]

Activation = Literal["softmax", "sigmoid"]

# The smallest normal float32: smaller probabilities are raised to it, so that no
# logarithm is of zero.
TINY = np.float32(1.1754944e-38)
_ACTIVATIONS: dict[str, Activation] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
# Operators that change the shape or type of the logits, but not their values.
_TRANSPARENT = ("Identity", "Flatten", "Reshape", "Squeeze", "Cast", "Dropout")


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a foreign classifier.

    Args:
        tensor: The tensor of the logits, or of the probabilities.
        activation: The function that turns logits into probabilities.
        is_probability: Whether the tensor contains probabilities.
        classes: The number of classes.
    """

    tensor: str
    activation: Activation
    is_probability: bool
    classes: int


def find_output(model: onnx.ModelProto, name: str | None) -> str:
    """Return the name of the output with the classes.

    Raises:
        UnknownNameError: The graph has no such output, or several and none is chosen.
    """
    names = [value.name for value in model.graph.output]
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        problem = f"no output {name!r}" if name else "several outputs; choose one with --output"
        raise UnknownNameError(f"the graph has {problem}; available: {', '.join(names)}")
    return name


def find_head(
    graph: StaticGraph, output: str, activation: Literal["softmax", "sigmoid", "none"] | None
) -> Head:
    """Return the tensor before the graph's final activation, or the output if there is none.

    Args:
        graph: The foreign graph.
        output: The output with the classes.
        activation: The user's choice; None to detect it, with softmax as the default.

    Raises:
        ExporterError: The output is no vector of classes, or the graph ends in
            another activation than the user's choice.
    """
    shape = graph.shape(output)
    wide = [size for size in shape[1:] if size > 1]
    if len(shape) < 2 or shape[0] != 1 or len(wide) > 1:
        raise ExporterError(
            f"the output {output!r} is {list(shape)} for one image; a classifier returns one "
            "number per class, [1, K]"
        )
    classes = max(shape[1:])
    own, before = _own_activation(graph, output)
    if own is None:
        default: Activation = "sigmoid" if activation == "sigmoid" else "softmax"
        return Head(output, default, activation == "none", classes)
    if activation not in (None, "none", own):
        raise ExporterError(
            f"the graph already ends in {own}, which contradicts --activation {activation}; "
            "remove the option"
        )
    return Head(before, own, False, classes)


def _own_activation(graph: StaticGraph, output: str) -> tuple[Activation | None, str]:
    """Return the activation that computes an output, and the activation's input."""
    producers = {name: node for node in graph.nodes for name in node.output}
    name = output
    while (node := producers.get(name)) is not None:
        if node.op_type in _ACTIVATIONS:
            return _ACTIVATIONS[node.op_type], node.input[0]
        if node.op_type not in _TRANSPARENT:
            break
        name = node.input[0]
    return None, output
