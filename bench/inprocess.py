"""ONNX Runtime in a separate process without a server: the upper bound for any server.

It reads a task from stdin and prints the figures to stdout; see `bench.processes.run_worker`.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from convscope.bundle.int8_sums import EXACT_SUMS_OPTION
from convscope.exporter.graphs.sessions import adds_exactly

WARM_UP_RUNS = 3


def main() -> None:
    """Run the task."""
    task: dict[str, Any] = json.load(sys.stdin)
    options = ort.SessionOptions()
    options.intra_op_num_threads = task["threads"]
    options.inter_op_num_threads = 1
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "1" if task["spinning"] else "0"
    )
    if not adds_exactly():
        options.add_session_config_entry(EXACT_SUMS_OPTION, "1")  # as the server does
    providers = task.get("providers", ["CPUExecutionProvider"])
    session = ort.InferenceSession(
        task["graph"], options, providers=providers, provider_options=task.get("provider_options")
    )
    if session.get_providers()[0] != providers[0]:
        sys.exit(f"{providers[0]} does not start")
    shape = (task["batch"], *task["shape"])
    with open(task["pixels"], "rb") as file:  # noqa: PTH123
        pixels = np.frombuffer(file.read(), np.uint8).reshape(task["shape"])
    inputs = np.ascontiguousarray(np.broadcast_to(pixels, shape))  # uint8 [N, H, W, C]
    print(json.dumps(measure(session, inputs, task["callers"], task["seconds"])))


def measure(
    session: ort.InferenceSession, inputs: NDArray[np.generic], callers: int, seconds: float
) -> dict[str, float]:
    """Run from several threads at once; return the speed, the median of a run and the CPU time."""
    name = session.get_inputs()[0].name
    for _ in range(WARM_UP_RUNS):
        session.run(["probabilities"], {name: inputs})
    started_at, cpu_before = time.perf_counter(), time.process_time()
    until = started_at + seconds

    def call() -> list[float]:
        times: list[float] = []
        while (before := time.perf_counter()) < until or not times:
            session.run(["probabilities"], {name: inputs})
            times.append(time.perf_counter() - before)
        return times

    with ThreadPoolExecutor(callers) as pool:
        times = [
            t for future in [pool.submit(call) for _ in range(callers)] for t in future.result()
        ]
    elapsed = time.perf_counter() - started_at
    images = len(times) * len(inputs)
    return {
        "images_per_second": images / elapsed,
        "median_seconds": median(times),
        "cpu_us": 1e6 * (time.process_time() - cpu_before) / images,
    }


if __name__ == "__main__":
    main()
