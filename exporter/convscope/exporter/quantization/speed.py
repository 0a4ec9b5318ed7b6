"""The speed of a quantized graph: the two graphs run in turns, on one thread each.

What counts is the CPU time of that thread, which other programs don't change as much as the
time that passes.
"""

import time
from dataclasses import dataclass
from statistics import median

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from convscope.exporter.graphs.dataflow import required
from convscope.exporter.graphs.sessions import open_graph, run_session

__all__ = ["Speed", "measure_speed"]

_PAIRS = 9
_SECONDS = 0.1  # of one measurement
_NOTICEABLE = 1.05
_OUTPUT = "probabilities"


@dataclass(frozen=True, slots=True)
class Speed:
    """Runs of single inputs per second of CPU time, relative to FP32.

    Args:
        ratio: The median over pairs.
        lowest: The lowest ratio of a pair.
        highest: The highest.
    """

    ratio: float
    lowest: float
    highest: float

    @property
    def is_faster(self) -> bool:
        """Whether the quantized graph is noticeably faster."""
        return self.ratio >= _NOTICEABLE


def measure_speed(
    quantized: onnx.ModelProto, original: onnx.ModelProto, one: NDArray[np.generic]
) -> Speed:
    """Measure how fast a quantized graph computes the probabilities of one input.

    Args:
        quantized: The quantized graph.
        original: The graph in FP32.
        one: An input, [1, ...].
    """
    ours, theirs = _open(quantized), _open(original)
    runs = max(1, round(_SECONDS / _seconds(theirs, one, 3)))
    ratios = sorted(_seconds(theirs, one, runs) / _seconds(ours, one, runs) for _ in range(_PAIRS))
    return Speed(median(ratios), ratios[0], ratios[-1])


def _open(model: onnx.ModelProto) -> ort.InferenceSession:
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    nodes, _ = required(cut.graph.node, [_OUTPUT])
    outputs = [value for value in cut.graph.output if value.name == _OUTPUT]
    del cut.graph.node[:], cut.graph.output[:]
    cut.graph.node.extend(nodes)
    cut.graph.output.extend(outputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return open_graph(cut.SerializeToString(), options)


def _seconds(session: ort.InferenceSession, one: NDArray[np.generic], runs: int) -> float:
    """Return the mean time of a run."""
    name = session.get_inputs()[0].name
    run_session(session, name, one, [_OUTPUT])
    start = time.thread_time()
    for _ in range(runs):
        run_session(session, name, one, [_OUTPUT])
    return (time.thread_time() - start) / runs
