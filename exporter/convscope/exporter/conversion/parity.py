"""The parity gate: a bundle whose outputs differ from PyTorch's isn't published."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.errors import ParityError
from convscope.exporter.graphs.comparison import OutputDifference, check_tolerance, compare, worst
from convscope.exporter.graphs.sessions import Arrays

__all__ = ["check_best_classes", "check_parity", "run_torch", "run_torch_each"]


def run_torch(network: ServableNetwork, inputs: NDArray[np.generic]) -> Arrays:
    """Run a network in PyTorch; return every output by name."""
    with torch.inference_mode():
        outputs = network(torch.from_numpy(inputs))
    return {name: value.numpy() for name, value in zip(network.output_names, outputs, strict=True)}


def run_torch_each(network: ServableNetwork, inputs: NDArray[np.generic]) -> Arrays:
    """Run inputs one by one in PyTorch; return every output by name, [n, ...]."""
    each = [run_torch(network, row[np.newaxis]) for row in inputs]
    return {name: np.concatenate([one[name] for one in each]) for name in network.output_names}


def check_parity(found: Arrays, expected: Arrays) -> list[OutputDifference]:
    """Compare every output with PyTorch's, for single inputs.

    Args:
        found: The graph's outputs, of each input alone, [n, ...].
        expected: PyTorch's outputs for the same inputs, likewise.

    Returns:
        The largest difference of each output.

    Raises:
        ParityError: An output differs by more than the tolerance.
    """
    outputs = worst(_differences(found, expected))
    check_tolerance(outputs, "ONNX Runtime", "PyTorch")
    return outputs


def _differences(found: Arrays, expected: Arrays) -> Iterator[OutputDifference]:
    for name, theirs in expected.items():
        ours = found[name]
        if len(ours) != len(theirs):
            raise ParityError(f"{name!r} has {len(ours)} rows for {len(theirs)} single inputs")
        for row in range(len(theirs)):
            difference = compare(name, ours[row : row + 1], theirs[row : row + 1])
            yield OutputDifference(name, ours.shape[1:], difference)


def check_best_classes(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Compare the best classes of the golden inputs with PyTorch's.

    Args:
        found: The graph's logits, [n, K].
        expected: PyTorch's, likewise.

    Raises:
        ParityError: One of them differs.
    """
    wrong = np.flatnonzero(found.argmax(axis=1) != expected.argmax(axis=1))
    if len(wrong):
        raise ParityError(f"the best class of golden input {wrong[0]} differs from PyTorch's")
