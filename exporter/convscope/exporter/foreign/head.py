"""Finds the activation at the end of a foreign graph."""

from dataclasses import dataclass

import onnx

from convscope.exporter.outputs.ending import Ending, classify
from convscope.exporter.outputs.graph_operations import operations

__all__ = ["Head", "find_head"]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a foreign classifier.

    Args:
        output: The tensor of the final output.
        ending: The activation that computes it.
        logits: The activation's argument, if the graph has it as a tensor.
    """

    output: str
    ending: Ending[str]
    logits: str | None = None


def find_head(model: onnx.ModelProto, output: str) -> Head:
    """Return the end of a graph."""
    ending = classify(operations(model.graph).get(output))
    return Head(output, ending, ending.argument or None)
