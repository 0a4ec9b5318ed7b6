"""The gates of an export: parity, semantics, finite results, batch independence.

Each input runs alone once, in PyTorch and in the graph; then the graph runs it in batches. A batch
that returns what its inputs return alone returns what PyTorch does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.conversion.parity import check_best_classes, check_parity, run_torch_each
from convscope.exporter.conversion.reference import Reference, check_network_independence
from convscope.exporter.errors import ParityError
from convscope.exporter.graphs.comparison import OutputDifference
from convscope.exporter.graphs.sessions import Arrays, run_each
from convscope.exporter.outputs.finiteness import Finiteness, check_finite
from convscope.exporter.outputs.independence import check_independence, check_operators
from convscope.exporter.outputs.probabilities import check_probabilities
from convscope.exporter.outputs.probes import is_noise

__all__ = ["GraphResults", "check_graph_results"]


@dataclass(frozen=True, slots=True)
class GraphResults:
    """The results of a graph that passed the gates.

    Args:
        golden: PyTorch's outputs for the golden inputs, [n, ...].
        parity: The largest difference of each output from PyTorch's.
        nonfinite: The inputs whose results aren't finite, which the user accepts.
    """

    golden: Arrays
    parity: list[OutputDifference]
    nonfinite: tuple[str, ...]


def check_graph_results(
    reference: Reference,
    network: ServableNetwork,
    model: onnx.ModelProto,
    session: ort.InferenceSession,
    golden: NDArray[np.generic],
) -> GraphResults:
    """Check the results of a graph for the golden inputs, photos, constant images and noise.

    Args:
        reference: The results of the user's network.
        network: The same network as its bundle runs it.
        model: The exported graph.
        session: The same graph, opened.
        golden: The golden inputs, [n, ...].

    Raises:
        ExporterError: An output differs from PyTorch's, isn't finite, or depends on the
            other inputs of its batch; or the probabilities differ from the user's network.
    """
    count = len(reference.inputs)
    inputs, golden_rows = _with_golden(reference.inputs, golden)
    found = run_each(session, inputs)
    expected, parity = _check_parity(reference, network, inputs, found, golden_rows)
    check_operators(model)
    finiteness = _check_values(reference, network, _rows(found, range(count)))
    kept = [*np.flatnonzero(finiteness.compared), *range(count, len(inputs))]
    check_independence(model, session, inputs[kept], _rows(found, kept))
    return GraphResults(expected, parity, finiteness.nonfinite)


def _with_golden(
    inputs: NDArray[np.generic], golden: NDArray[np.generic]
) -> tuple[NDArray[np.generic], list[int]]:
    """Add the golden inputs that aren't among the others; return all, and the golden ones' rows."""
    known = {row.tobytes(): index for index, row in enumerate(inputs)}
    added: list[NDArray[np.generic]] = []
    for row in golden:
        if row.tobytes() not in known:
            known[row.tobytes()] = len(inputs) + len(added)
            added.append(row)
    return np.stack([*inputs, *added]), [known[row.tobytes()] for row in golden]


def _check_parity(
    reference: Reference,
    network: ServableNetwork,
    inputs: NDArray[np.generic],
    found: Arrays,
    golden_rows: list[int],
) -> tuple[Arrays, list[OutputDifference]]:
    """Compare the golden inputs and noise with PyTorch; return its outputs for the golden ones."""
    noise = [row for row, text in enumerate(reference.inputs_by_description) if is_noise(text)]
    rows = sorted({*noise, *golden_rows})
    expected = run_torch_each(network, inputs[rows])
    try:
        parity = check_parity(_rows(found, rows), expected)
    except ParityError:
        check_network_independence(reference)  # the better explanation, if it fails too
        raise
    golden = _rows(expected, [rows.index(row) for row in golden_rows])
    if network.heads:
        logits = network.heads[0]
        check_best_classes(found[logits][golden_rows], golden[logits])
    return golden, parity


def _check_values(reference: Reference, network: ServableNetwork, found: Arrays) -> Finiteness:
    """Check that the results are finite, and the probabilities those of the user's network."""
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
    return finiteness


def _rows(outputs: Arrays, rows: Sequence[int]) -> Arrays:
    return {name: values[rows] for name, values in outputs.items()}
