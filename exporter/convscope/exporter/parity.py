"""The parity gate: ONNX Runtime computes what PyTorch computes, or nothing is published."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from convscope.exporter.errors import ParityError
from convscope.exporter.graph import ServableNetwork

__all__ = ["OutputParity", "check_parity", "open_session", "run_torch"]

TOLERANCE = 1e-3
BATCHES = (1, 2, 5)

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class OutputParity:
    """How far one output is from PyTorch's.

    Args:
        name: The output's name.
        shape: Its shape without the batch.
        difference: The largest absolute difference, over the largest magnitude.
    """

    name: str
    shape: tuple[int, ...]
    difference: float


def open_session(graph: bytes) -> ort.InferenceSession:
    """Open a graph on the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # PyTorch runs in between, and would wait for threads that spin.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def run_torch(network: ServableNetwork, inputs: NDArray[np.generic]) -> Arrays:
    """Run a network in PyTorch; every output by its name."""
    with torch.inference_mode():
        outputs = network(torch.from_numpy(inputs))
    return {name: value.numpy() for name, value in zip(network.output_names, outputs, strict=True)}


def check_parity(
    network: ServableNetwork, graph: bytes, golden: NDArray[np.generic]
) -> list[OutputParity]:
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
    session = open_session(graph)
    feed = session.get_inputs()[0].name
    inputs = _with_noise(golden)
    worst: dict[str, OutputParity] = {}
    for batch in BATCHES:
        for start in range(0, len(inputs) - batch + 1, batch):
            chunk = inputs[start : start + batch]
            expected = run_torch(network, chunk)
            found = session.run(list(expected), {feed: chunk})
            for name, ours in zip(expected, found, strict=True):
                parity = _compare(name, ours, expected[name])
                if name not in worst or parity.difference > worst[name].difference:
                    worst[name] = parity
    _refuse_misses(list(worst.values()))
    if network.heads:
        _check_best_classes(network, session, golden)
    return list(worst.values())


def _with_noise(golden: NDArray[np.generic]) -> NDArray[np.generic]:
    """The golden inputs, filled up with noise to at least the largest batch."""
    shape, random = (max(BATCHES), *golden.shape[1:]), np.random.default_rng(0)
    images = golden.dtype == np.uint8
    noise = random.integers(0, 256, shape) if images else random.normal(size=shape)
    return np.concatenate([golden, noise.astype(golden.dtype)])


def _compare(name: str, ours: NDArray[np.float32], expected: NDArray[np.float32]) -> OutputParity:
    if ours.shape != expected.shape:
        raise ParityError(f"{name!r} is {list(ours.shape)} and was {list(expected.shape)}")
    magnitude = float(np.abs(expected).max()) or 1.0
    difference = float(np.abs(ours - expected).max()) / magnitude
    return OutputParity(name, ours.shape[1:], difference)


def _refuse_misses(outputs: Sequence[OutputParity]) -> None:
    # Not `> TOLERANCE`: that would let NaN pass.
    misses = [output for output in outputs if not output.difference <= TOLERANCE]
    if misses:
        said = ", ".join(f"{output.name!r} by {output.difference:.2e}" for output in misses)
        raise ParityError(
            f"ONNX Runtime differs from PyTorch in {said} of the largest magnitude; "
            f"at most {TOLERANCE:.0e} is allowed"
        )


def _check_best_classes(
    network: ServableNetwork, session: ort.InferenceSession, golden: NDArray[np.generic]
) -> None:
    logits_name, feed = network.heads[0], session.get_inputs()[0].name
    expected = run_torch(network, golden)[logits_name].argmax(axis=1)
    (logits,) = session.run([logits_name], {feed: golden})
    wrong = np.flatnonzero(logits.argmax(axis=1) != expected)
    if len(wrong):
        raise ParityError(f"the best class of golden input {wrong[0]} differs from PyTorch's")
