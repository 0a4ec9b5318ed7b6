"""Finds how many layers have to stay in FP32, so that the guard accepts the network."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.errors import QuantizationError
from convscope.exporter.graphs.sessions import open_graph, run_session
from convscope.exporter.quantization.data import Inputs
from convscope.exporter.quantization.guard import Fidelity, compare_results
from convscope.exporter.quantization.network import CalibratedNetwork

__all__ = ["Attempt", "probabilities", "search"]

_BATCH = 16
# With more of the layers in FP32, little of the speed remains.
_LARGEST_SHARE = 0.5
_STEPS = (0, 1, 2, 4, 6, 9, 13, 19, 28, 42, 63, 94, 141)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A quantized graph and what it keeps.

    Args:
        fp32_layers: How many layers are in FP32, from the input on.
        fidelity: What it keeps.
        problems: What the guard doesn't accept; empty if it accepts the graph.
    """

    fp32_layers: int
    fidelity: Fidelity
    problems: Sequence[str]


def search(
    network: CalibratedNetwork,
    held_out: Inputs,
    expected: NDArray[np.float32],
    check: Callable[[onnx.ModelProto], str | None],
    report: Callable[[Attempt], None],
    *,
    independent: bool = False,
) -> tuple[onnx.ModelProto, Attempt]:
    """Quantize as many layers as the guard accepts.

    Args:
        network: The network.
        held_out: The inputs of the guard.
        expected: The probabilities in FP32 for them, [n, K].
        check: Returns what else is wrong with a quantized graph, or None.
        report: Called with each attempt.
        independent: Whether each class has a probability of its own.

    Raises:
        QuantizationError: The guard accepts none of the graphs, or has too few inputs.
    """
    attempt = None
    for count in _counts(len(network.layers)):
        model = network.quantized(count)
        found = probabilities(model, held_out.values)
        fidelity = compare_results(expected, found, held_out.labels, independent=independent)
        problems = [*fidelity.problems()]
        if fidelity.is_measurable and (problem := check(model)) is not None:
            problems.append(problem)
        attempt = Attempt(count, fidelity, problems)
        report(attempt)
        if not problems:
            return model, attempt
        if not fidelity.is_measurable:
            raise QuantizationError(problems[0])
    raise QuantizationError(
        f"the guard rejects the INT8 versions of this network; with {attempt.fp32_layers} of "
        f"{len(network.layers)} layers in FP32, {attempt.problems[0]}; nothing was published"
        if attempt is not None
        else "the network has no layers"
    )


def probabilities(model: onnx.ModelProto, values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the probabilities that a graph computes, [n, K]."""
    session = open_graph(model.SerializeToString())
    name = session.get_inputs()[0].name
    found = [
        run_session(session, name, values[start : start + _BATCH], ["probabilities"])[0]
        for start in range(0, len(values), _BATCH)
    ]
    return np.concatenate(found)


def _counts(layers: int) -> Iterator[int]:
    """Yield how many layers stay in FP32: few at first, and at most half of them."""
    yield from (step for step in _STEPS if step <= layers * _LARGEST_SHARE)
