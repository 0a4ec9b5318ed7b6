"""Explains a classifier: adds the heat to its graph, and checks it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.bundle.manifest import EXPLAINED_SCHEMA_VERSION
from convscope.exporter.errors import ExplanationError, ExporterError, reason
from convscope.exporter.explanations.attach import attach
from convscope.exporter.explanations.checks import (
    HeatReference,
    check_batches,
    check_differences,
    check_reference,
    check_sum,
    check_values,
)
from convscope.exporter.explanations.running import HeatRunner
from convscope.exporter.graphs.static_graph import StaticGraph, static_graph
from convscope.exporter.outputs.ending import saturating
from convscope.exporter.outputs.graph_operations import operations
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Explained", "explain", "unless_left_out"]

# The two best classes, and one that is the same for every input.
TARGETS = (-1, -2, 0)
# What a graph that contradicts an assumption of the rules may raise.
_FAILURES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Explained:
    """An explained graph that passed the gates.

    Args:
        data: The serialized graph.
        spec: Its description for the manifest.
        heat: The reference heat of the best class of each input, [n, positions...].
        summary: Its description for a report.
    """

    data: bytes
    spec: pb.ExplanationSpec
    heat: NDArray[np.float32]
    summary: str

    def describe_in(self, manifest: pb.ModelManifest) -> None:
        """Add the explanation to a manifest."""
        manifest.schema_version = max(manifest.schema_version, EXPLAINED_SCHEMA_VERSION)
        manifest.explanation.CopyFrom(self.spec)


def explain(
    model: onnx.ModelProto,
    inputs: NDArray[np.generic],
    classes: int,
    reference: HeatReference | None = None,
    static: StaticGraph | None = None,
) -> Explained:
    """Add heat to a graph, and compare it with a reference, or with central differences.

    Args:
        model: The graph with the output `logits`. It is changed in place.
        inputs: The golden inputs, [n, ...].
        classes: The number of classes.
        reference: Computes the heat in another way.
        static: The graph with its shapes, if they are known already.

    Raises:
        ExporterError: The graph can't be explained, or fails a gate; the message
            says why.
    """
    explanation = attach(model, static or static_graph(model), classes)
    data = model.SerializeToString()
    runner = HeatRunner(data, explanation)
    run = runner.run(inputs, TARGETS)
    check_values(run, explanation.cut)
    axis = explanation.cut.channel_axis
    expected = None if reference is None else reference(run.tensor, run.classes, axis)
    if expected is not None:
        difference = check_reference(run, expected)
        compared = f"{difference:.1e} from PyTorch's gradient"
    else:
        difference = check_differences(model, explanation, inputs, run)
        compared = f"{difference:.1e} from central differences"
    check_sum(run, linear=explanation.heat.linear)
    check_batches(runner, inputs, run)
    best = (run.heat if expected is None else expected)[:, 0]
    summary = f"{explanation.describe()}; {compared}{_warning(model)}"
    return Explained(data, explanation.spec(), best, summary)


def _warning(model: onnx.ModelProto) -> str:
    """Return a warning if the logits have no gradient for confident classes."""
    name = saturating(operations(model.graph).get("logits"))
    if name is None:
        return ""
    return (
        f"\nwarning: the heat of confident classes vanishes, because the operator {name} after the "
        "last layer is nearly constant for them; return the values before the final activation"
    )


def unless_left_out(
    choice: bool | None, make: Callable[[], Explained]
) -> tuple[Explained | None, str]:
    """Explain a graph as the user chooses.

    Args:
        choice: False leaves the explanation out, True makes a failure an error, and
            None publishes the graph without an explanation after a failure.
        make: Explains the graph.

    Returns:
        The explained graph, or None; and a line for the report.

    Raises:
        ExplanationError: The graph can't be explained, and the user asked for it.
    """
    if choice is False:
        return None, "no explanations: left out"
    try:
        explained = make()
    except (ExporterError, *_FAILURES) as error:
        why = str(error) if isinstance(error, ExporterError) else reason(error)
        if choice:
            raise ExplanationError(
                f"no explanations: {why}; export without --explanations to publish without them"
            ) from error
        return None, f"no explanations: {why}"
    return explained, f"heat      {explained.summary}"
