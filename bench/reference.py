"""In-process runs of a model, and the fastest setting for it on this machine."""

import os
from dataclasses import asdict, dataclass

from bench.bundles import plain_graph
from bench.context import Bench
from bench.photos import digit, pixels_224
from bench.processes import run_worker

__all__ = ["Setting", "best_setting", "cores", "run_inprocess"]

BATCHES = (1, 4, 8)
TRY_SECONDS = 0.7
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Setting:
    """How ONNX Runtime is called.

    Args:
        threads: The number of threads of one run.
        callers: The number of concurrent runs.
        batch: The number of images of one run.
    """

    threads: int
    callers: int
    batch: int


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run_inprocess(bench: Bench, model: str, setting: Setting, seconds: float) -> dict[str, float]:
    """Run a model without a server; return images_per_second and median_seconds."""
    data, shape = (digit(), (28, 28, 1)) if model == "digits" else (pixels_224(), (224, 224, 3))
    pixels = bench.scratch / f"{model}.pixels"
    pixels.write_bytes(data)
    task = {
        "graph": str(plain_graph(bench, model)),
        "pixels": str(pixels),
        "shape": shape,
        "seconds": seconds,
        **asdict(setting),
    }
    return run_worker("bench.inprocess", task, seconds=seconds + TIMEOUT_SECONDS)


def best_setting(bench: Bench, model: str) -> tuple[Setting, dict[str, float]]:
    """Try combinations of threads, callers and batch; return the fastest and the speed of each."""
    count = cores()
    settings = [
        Setting(threads, count // threads, batch) for threads in {1, count} for batch in BATCHES
    ]
    seconds = bench.seconds(TRY_SECONDS)
    speeds = {s: run_inprocess(bench, model, s, seconds)["images_per_second"] for s in settings}
    tried = {f"{s.callers}x{s.threads} batch {s.batch}": speed for s, speed in speeds.items()}
    return max(speeds, key=lambda setting: speeds[setting]), tried
