"""The gates of an export beyond parity: semantics, finite results, batch independence."""

import numpy as np
import onnx

from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.conversion.reference import check_inputs, final_outputs
from convscope.exporter.conversion.source import Source
from convscope.exporter.graphs.sessions import open_graph, run_each
from convscope.exporter.outputs.finiteness import check_finite
from convscope.exporter.outputs.independence import check_independence, check_operators
from convscope.exporter.outputs.probabilities import check_probabilities

__all__ = ["check_graph_results"]


def check_graph_results(
    source: Source, network: ServableNetwork, model: onnx.ModelProto, graph: bytes
) -> tuple[str, ...]:
    """Check the results of a graph for photos, constant images and noise.

    Args:
        source: The user's network and its description.
        network: The same network as its bundle runs it.
        model: The exported graph.
        graph: The same graph, serialized.

    Returns:
        The inputs whose results aren't finite, which the user accepts.

    Raises:
        ExporterError: A result isn't finite, differs from the user's network,
            or depends on the other inputs of its batch.
    """
    check_operators(model)
    named = check_inputs(source)
    inputs = np.stack(list(named.values()))
    session = open_graph(graph)
    found = run_each(session, inputs)
    expected = {}
    if network.semantics is not None:
        expected["output"] = network.semantics.probabilities(final_outputs(source, inputs))
    finiteness = check_finite(expected | found, list(named), allow=source.allow_nonfinite)
    compared = finiteness.compared
    if expected:
        ours, theirs = found["probabilities"][compared], expected["output"][compared]
        check_probabilities(ours, theirs, "the network's own")
    alone = {name: values[compared] for name, values in found.items()}
    check_independence(model, session, inputs[compared], alone)
    return finiteness.nonfinite
