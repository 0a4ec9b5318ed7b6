"""The parity gate: a bundle whose outputs differ from PyTorch's isn't published."""

from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.errors import ParityError
from convscope.exporter.graphs.comparison import (
    BATCHES,
    OutputDifference,
    check_tolerance,
    compare,
    worst,
)
from convscope.exporter.graphs.sessions import Arrays, run_session

__all__ = ["check_parity", "run_torch"]


def run_torch(network: ServableNetwork, inputs: NDArray[np.generic]) -> Arrays:
    """Run a network in PyTorch; return every output by name."""
    with torch.inference_mode():
        outputs = network(torch.from_numpy(inputs))
    return {name: value.numpy() for name, value in zip(network.output_names, outputs, strict=True)}


def check_parity(
    network: ServableNetwork,
    session: ort.InferenceSession,
    golden: NDArray[np.generic],
    expected: Arrays,
) -> list[OutputDifference]:
    """Compare every output with PyTorch's, at several batch sizes.

    Args:
        network: The network in PyTorch.
        session: The network as ONNX.
        golden: The golden inputs, [n, ...].
        expected: PyTorch's outputs for them.

    Returns:
        The largest difference of each output.

    Raises:
        ParityError: An output differs by more than the tolerance, or the best
            class of a golden input differs.
    """
    outputs = worst(_differences(network, session, _with_noise(golden)))
    check_tolerance(outputs, "ONNX Runtime", "PyTorch")
    if network.heads:
        _check_best_classes(session, golden, network.heads[0], expected)
    return outputs


def _differences(
    network: ServableNetwork, session: ort.InferenceSession, inputs: NDArray[np.generic]
) -> Iterator[OutputDifference]:
    input_name = session.get_inputs()[0].name
    for batch in BATCHES:
        for start in range(0, len(inputs) - batch + 1, batch):
            chunk = inputs[start : start + batch]
            expected = run_torch(network, chunk)
            found = run_session(session, input_name, chunk, list(expected))
            for name, ours in zip(expected, found, strict=True):
                difference = compare(name, ours, expected[name])
                yield OutputDifference(name, ours.shape[1:], difference)


def _with_noise(golden: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the golden inputs, followed by noise inputs for one batch of the largest size."""
    shape, random = (max(BATCHES), *golden.shape[1:]), np.random.default_rng(0)
    images = golden.dtype == np.uint8
    noise = random.integers(0, 256, shape) if images else random.normal(size=shape)
    return np.concatenate([golden, noise.astype(golden.dtype)])


def _check_best_classes(
    session: ort.InferenceSession, golden: NDArray[np.generic], logits_name: str, expected: Arrays
) -> None:
    (logits,) = run_session(session, session.get_inputs()[0].name, golden, [logits_name])
    wrong = np.flatnonzero(logits.argmax(axis=1) != expected[logits_name].argmax(axis=1))
    if len(wrong):
        raise ParityError(f"the best class of golden input {wrong[0]} differs from PyTorch's")
