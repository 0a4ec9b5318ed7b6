"""The gates of an import: a bundle that differs from the original isn't published."""

from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.errors import ParityError
from convscope.exporter.graphs.comparison import (
    TOLERANCE,
    OutputDifference,
    check_tolerance,
    compare,
)
from convscope.exporter.graphs.sessions import Arrays, open_graph, run_graph
from convscope.exporter.outputs.probabilities import check_probabilities

__all__ = ["check_parity"]


def check_parity(
    joined: onnx.ModelProto, images: NDArray[np.uint8], expected: Arrays
) -> list[OutputDifference]:
    """Compare every output with the original's, for single images.

    Args:
        joined: The bundle's graph.
        images: uint8 [n, H, W, C].
        expected: The original's outputs for them, which are finite.

    Returns:
        The largest difference of each output.

    Raises:
        ParityError: An output differs by more than the tolerance, or the best
            class differs.
    """
    run = partial(run_graph, open_graph(joined.SerializeToString()))
    each = [run(image[np.newaxis]) for image in images]
    ours = {name: np.concatenate([one[name] for one in each]) for name in expected}
    differences = [
        OutputDifference(name, values.shape[1:], compare(name, ours[name], values))
        for name, values in expected.items()
    ]
    check_tolerance(differences, "the joined graph", "the original")
    check_probabilities(ours["probabilities"], expected["probabilities"], "the original's")
    _check_best(ours["probabilities"], expected["probabilities"])
    return differences


def _check_best(ours: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Check for the same best class, or an equally good one: some graphs return equal values."""
    rows = np.arange(len(ours))
    lost = expected.max(axis=1) - expected[rows, ours.argmax(axis=1)]
    if (lost > TOLERANCE).any():
        raise ParityError("the best class of an image differs from the original's")
