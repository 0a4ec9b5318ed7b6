"""The gates of an export beyond parity: semantics, finite results, batch independence."""

import onnx
import onnxruntime as ort

from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.conversion.reference import Reference
from convscope.exporter.graphs.sessions import run_each
from convscope.exporter.outputs.finiteness import check_finite
from convscope.exporter.outputs.independence import check_independence, check_operators
from convscope.exporter.outputs.probabilities import check_probabilities

__all__ = ["check_graph_results"]


def check_graph_results(
    reference: Reference,
    network: ServableNetwork,
    model: onnx.ModelProto,
    session: ort.InferenceSession,
) -> tuple[str, ...]:
    """Check the results of a graph for photos, constant images and noise.

    Args:
        reference: The results of the user's network.
        network: The same network as its bundle runs it.
        model: The exported graph.
        session: The same graph, opened.

    Returns:
        The inputs whose results aren't finite, which the user accepts.

    Raises:
        ExporterError: A result isn't finite, differs from the user's network,
            or depends on the other inputs of its batch.
    """
    check_operators(model)
    inputs = reference.inputs
    found = run_each(session, inputs)
    expected = {}
    if network.semantics is not None:
        expected["output"] = network.semantics.probabilities(reference.outputs)
    finiteness = check_finite(
        expected | found,
        list(reference.inputs_by_description),
        allow=reference.source.allow_nonfinite,
    )
    compared = finiteness.compared
    if expected:
        ours, theirs = found["probabilities"][compared], expected["output"][compared]
        check_probabilities(ours, theirs, "the network's own")
    alone = {name: values[compared] for name, values in found.items()}
    check_independence(model, session, inputs[compared], alone)
    return finiteness.nonfinite
