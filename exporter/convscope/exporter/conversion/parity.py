"""The parity gate: ONNX Runtime computes what PyTorch computes, or nothing is published."""

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
from convscope.exporter.graphs.sessions import Arrays, open_graph, run_session

__all__ = ["check_parity", "run_torch"]


def run_torch(network: ServableNetwork, inputs: NDArray[np.generic]) -> Arrays:
    """Run a network in PyTorch; every output by its name."""
    with torch.inference_mode():
        outputs = network(torch.from_numpy(inputs))
    return {name: value.numpy() for name, value in zip(network.output_names, outputs, strict=True)}


def check_parity(
    network: ServableNetwork, graph: bytes, golden: NDArray[np.generic]
) -> list[OutputDifference]:
    """Compare every output, at several batch sizes.

    Args:
        network: The network, in PyTorch.
        graph: The same, as ONNX.
        golden: The golden inputs, [n, ...].

    Returns:
        The worst difference of each output.

    Raises:
        ParityError: An output differs by more than the tolerance, or a golden
            input has another best class.
    """
    session = open_graph(graph)
    outputs = worst(_differences(network, session, _with_noise(golden)))
    check_tolerance(outputs, "ONNX Runtime", "PyTorch")
    if network.heads:
        _check_best_classes(network, session, golden)
    return outputs


def _differences(
    network: ServableNetwork, session: ort.InferenceSession, inputs: NDArray[np.generic]
) -> Iterator[OutputDifference]:
    feed = session.get_inputs()[0].name
    for batch in BATCHES:
        for start in range(0, len(inputs) - batch + 1, batch):
            chunk = inputs[start : start + batch]
            expected = run_torch(network, chunk)
            found = run_session(session, feed, chunk, list(expected))
            for name, ours in zip(expected, found, strict=True):
                difference = compare(name, ours, expected[name])
                yield OutputDifference(name, ours.shape[1:], difference)


def _with_noise(golden: NDArray[np.generic]) -> NDArray[np.generic]:
    """The golden inputs, filled up with noise to at least the largest batch."""
    shape, random = (max(BATCHES), *golden.shape[1:]), np.random.default_rng(0)
    images = golden.dtype == np.uint8
    noise = random.integers(0, 256, shape) if images else random.normal(size=shape)
    return np.concatenate([golden, noise.astype(golden.dtype)])


def _check_best_classes(
    network: ServableNetwork, session: ort.InferenceSession, golden: NDArray[np.generic]
) -> None:
    logits_name, feed = network.heads[0], session.get_inputs()[0].name
    expected = run_torch(network, golden)[logits_name].argmax(axis=1)
    (logits,) = run_session(session, feed, golden, [logits_name])
    wrong = np.flatnonzero(logits.argmax(axis=1) != expected)
    if len(wrong):
        raise ParityError(f"the best class of golden input {wrong[0]} differs from PyTorch's")
