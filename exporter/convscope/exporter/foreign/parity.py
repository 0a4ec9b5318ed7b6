"""The parity gate of an import: a bundle that differs from the original isn't published."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray

from convscope.exporter.errors import ExporterError, ParityError
from convscope.exporter.graphs.comparison import (
    BATCHES,
    TOLERANCE,
    OutputDifference,
    check_tolerance,
    compare,
    worst,
)
from convscope.exporter.graphs.sessions import Arrays, open_graph, run_graph

__all__ = ["check_parity"]


def check_parity(
    joined: onnx.ModelProto, images: NDArray[np.uint8], expected: Arrays
) -> list[OutputDifference]:
    """Compare every output of batches with the original's outputs of single images.

    Args:
        joined: The bundle's graph.
        images: uint8 [n, H, W, C], at least as many as the largest batch.
        expected: The original's outputs for them.

    Returns:
        The largest difference of each output.

    Raises:
        ParityError: An output differs by more than the tolerance, the best
            class differs, or the graph can't take a batch.
    """
    session = open_graph(joined.SerializeToString())
    found = []
    for batch in BATCHES:
        differences = worst(_differences(batch, images, expected, partial(run_graph, session)))
        check_tolerance(differences, f"the joined graph, at batch {batch},", "the original")
        found.extend(differences)
    return worst(found)


def _differences(
    batch: int,
    images: NDArray[np.uint8],
    expected: Arrays,
    run: Callable[[NDArray[np.uint8]], Arrays],
) -> Iterator[OutputDifference]:
    for start in range(0, len(images) - batch + 1, batch):
        rows = slice(start, start + batch)
        try:
            ours = run(images[rows])
        except ExporterError as error:
            raise ParityError(
                f"the graph can't run a batch of {batch} images, which the server needs: {error}; "
                "export it again with a dynamic batch"
            ) from error
        for name, values in expected.items():
            if len(ours[name]) != batch:
                raise ParityError(
                    f"the graph returns {len(ours[name])} of {name!r} for {batch} images: it has a "
                    "fixed batch inside; export it again with a dynamic batch"
                )
            yield OutputDifference(name, values.shape[1:], compare(name, ours[name], values[rows]))
        _check_best(ours["logits"], expected["logits"][rows])


def _check_best(ours: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Check for the same best class, or an equally good one: some graphs return equal logits."""
    rows = np.arange(len(ours))
    lost = expected.max(axis=1) - expected[rows, ours.argmax(axis=1)]
    if (lost > TOLERANCE * np.abs(expected).max()).any():
        raise ParityError("the best class of an image differs from the original's")
