"""Opens and runs ONNX graphs with ONNX Runtime, on the CPU and without PyTorch."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from convscope.bundle.int8_sums import EXACT_SUMS_OPTION, sums_are_exact
from convscope.exporter.errors import ExporterError, reason

__all__ = [
    "Arrays",
    "adds_exactly",
    "feed_session",
    "open_graph",
    "run_each",
    "run_session",
]

_FAILURES = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
    ValueError,
)
_ONLY_FATAL = 4

Arrays = dict[str, NDArray[np.float32]]
"""Arrays by output name; the first axis is the batch."""


def open_graph(graph: bytes, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """Open a graph in ONNX Runtime, on the CPU.

    Raises:
        ExporterError: ONNX Runtime can't open the graph.
    """
    options = options or ort.SessionOptions()
    options.log_severity_level = _ONLY_FATAL
    # PyTorch may run between two calls, and would compete with spinning threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not adds_exactly():
        options.add_session_config_entry(EXACT_SUMS_OPTION, "1")  # as the server does
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except ort_errors.NotImplemented as error:
        raise ExporterError(
            f"ONNX Runtime has no such operator for this type: {reason(error)}; export the model "
            "in float32, or without this operator"
        ) from error
    except _FAILURES as error:
        raise ExporterError(f"ONNX Runtime can't open the graph: {reason(error)}") from error


@cache
def adds_exactly() -> bool:
    """Return whether this CPU needs no option for exact INT8 sums."""
    return sums_are_exact(_run_plainly)


def _run_plainly(graph: bytes, feed: Mapping[str, NDArray[np.generic]]) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run(None, feed)[
        0
    ]


def run_each(session: ort.InferenceSession, inputs: NDArray[np.generic]) -> Arrays:
    """Run the values of a graph's only input one by one; return every output by name.

    Raises:
        ExporterError: ONNX Runtime fails; the message has its reason.
    """
    (name,) = (value.name for value in session.get_inputs())
    outputs = [value.name for value in session.get_outputs()]
    each = [run_session(session, name, row[np.newaxis], outputs) for row in inputs]
    columns = (np.concatenate(column) for column in zip(*each, strict=True))
    return dict(zip(outputs, columns, strict=True))


def run_session(
    session: ort.InferenceSession, name: str, values: NDArray[np.generic], outputs: Sequence[str]
) -> list[NDArray[np.float32]]:
    """Run a session on the values of one input.

    Raises:
        ExporterError: ONNX Runtime fails; the message has its reason.
    """
    return feed_session(session, {name: values}, outputs)


def feed_session(
    session: ort.InferenceSession,
    feed: Mapping[str, NDArray[np.generic]],
    outputs: Sequence[str],
) -> list[Any]:
    """Run a session on the values of several inputs; return the outputs as arrays.

    Raises:
        ExporterError: ONNX Runtime fails; the message has its reason.
    """
    try:
        found: list[Any] = session.run(list(outputs), dict(feed))
    except _FAILURES as error:
        raise ExporterError(f"ONNX Runtime: {reason(error)}") from error
    return found
