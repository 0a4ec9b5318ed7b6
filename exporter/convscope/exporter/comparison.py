"""One graph held against another, without PyTorch: sessions, tolerances, differences."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from convscope.exporter.errors import ExporterError, ParityError

__all__ = [
    "BATCHES",
    "TOLERANCE",
    "Arrays",
    "OutputDifference",
    "compare",
    "first_line",
    "open_graph",
    "refuse_misses",
    "run_graph",
    "run_session",
    "softmax",
    "worst",
]

TOLERANCE = 1e-3
BATCHES = (1, 2, 5)
MAX_REASON_CHARACTERS = 300

_FAILURES = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

Arrays = dict[str, NDArray[np.float32]]
"""Each output by its name; the first axis is the batch."""


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """How far one output is from what it should be.

    Args:
        name: The output's name.
        shape: Its shape without the batch.
        difference: The largest absolute difference, over the largest magnitude.
    """

    name: str
    shape: tuple[int, ...]
    difference: float


def open_graph(graph: bytes) -> ort.InferenceSession:
    """Open a graph in ONNX Runtime, on the CPU.

    Raises:
        ExporterError: ONNX Runtime refuses it.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # PyTorch may run in between, and would wait for threads that spin.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except (*_FAILURES, RuntimeError, ValueError) as error:
        raise ExporterError(f"ONNX Runtime can't open the graph: {first_line(error)}") from error


def run_graph(session: ort.InferenceSession, images: NDArray[np.generic]) -> Arrays:
    """Run a graph by the contract on uint8 images, [N, H, W, C]; every output by its name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, run_session(session, "images", images, names), strict=True))


def run_session(
    session: ort.InferenceSession, name: str, values: NDArray[np.generic], outputs: Sequence[str]
) -> list[NDArray[np.float32]]:
    """Run a session.

    Raises:
        ExporterError: ONNX Runtime fails; the message has its reason.
    """
    try:
        found: list[NDArray[np.float32]] = session.run(list(outputs), {name: values})
    except (*_FAILURES, RuntimeError, ValueError) as error:
        raise ExporterError(f"ONNX Runtime: {first_line(error)}") from error
    return found


def compare(name: str, ours: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference of two arrays, over the largest magnitude of the second.

    Raises:
        ParityError: They don't have one shape.
    """
    if ours.shape != expected.shape:
        raise ParityError(f"{name!r} is {list(ours.shape)} and was {list(expected.shape)}")
    magnitude = float(np.abs(expected).max()) or 1.0
    return float(np.abs(ours - expected).max()) / magnitude


def worst(differences: Iterable[OutputDifference]) -> list[OutputDifference]:
    """Of each output, the largest difference; NaN is larger than any."""
    largest: dict[str, OutputDifference] = {}
    for one in differences:
        known = largest.get(one.name)
        if known is None or not one.difference <= known.difference:
            largest[one.name] = one
    return list(largest.values())


def refuse_misses(outputs: Sequence[OutputDifference], ours: str, theirs: str) -> None:
    """Refuse a difference above the tolerance.

    Raises:
        ParityError: There is one; the message names the outputs.
    """
    # Not `> TOLERANCE`: that would let NaN pass.
    misses = [output for output in outputs if not output.difference <= TOLERANCE]
    if misses:
        said = ", ".join(f"{output.name!r} by {output.difference:.2e}" for output in misses)
        raise ParityError(
            f"{ours} differs from {theirs} in {said} of the largest magnitude; "
            f"at most {TOLERANCE:.0e} is allowed"
        )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities from logits, float32 [n, K]."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def first_line(error: Exception) -> str:
    """What an error says, in short."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:MAX_REASON_CHARACTERS]
