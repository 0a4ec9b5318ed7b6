"""In-process runs of a model, and the fastest settings for it on this machine."""

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from bench.bundles import plain_graph
from bench.context import Bench
from bench.cpu import Watch
from bench.photos import digit, pixels_224
from bench.processes import run_worker
from bench.sampling import Sample

__all__ = ["Run", "Setting", "cores", "fastest", "most_responsive", "run_inprocess"]

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
        spinning: Whether idle threads of a run spin instead of sleeping.
    """

    threads: int
    callers: int = 1
    batch: int = 1
    spinning: bool = True

    def __str__(self) -> str:
        quiet = "" if self.spinning or self.threads == 1 else ", not spinning"
        return f"{self.callers}x{self.threads} batch {self.batch}{quiet}"


@dataclass(frozen=True, slots=True)
class Run:
    """The result of running a model in process.

    Args:
        images_per_second: The throughput.
        median_seconds: The median duration of a run.
        cpu_us: The CPU time per image, in microseconds.
        others: The share of the machine that other programs used.
    """

    images_per_second: float
    median_seconds: float
    cpu_us: float
    others: float

    def rate(self) -> Sample:
        """Return the images per second."""
        return Sample(self.images_per_second, self.others, self.cpu_us)

    def latency_ms(self) -> Sample:
        """Return the median duration of a run in milliseconds."""
        return Sample(1000 * self.median_seconds, self.others, self.cpu_us)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run_inprocess(bench: Bench, model: str, setting: Setting, seconds: float) -> Run:
    """Run a model without a server."""
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
    watch = Watch()
    answer = run_worker("bench.inprocess", task, seconds=seconds + TIMEOUT_SECONDS)
    return Run(**answer, others=watch.read().others)


def fastest(bench: Bench, model: str) -> tuple[Setting, dict[str, float]]:
    """Return the setting with the most images per second, and the images per second of each."""
    count = cores()
    settings = [
        Setting(threads, count // threads, batch) for threads in {1, count} for batch in BATCHES
    ]
    return _best(bench, model, settings, lambda run: run.images_per_second)


def most_responsive(bench: Bench, model: str) -> tuple[Setting, dict[str, float]]:
    """Return the setting with the most runs per second of one caller, and those of each."""
    count = cores()
    settings = [Setting(1), Setting(count), Setting(count, spinning=False)]
    return _best(bench, model, settings, lambda run: 1 / run.median_seconds)


def _best(
    bench: Bench, model: str, settings: Iterable[Setting], speed: Callable[[Run], float]
) -> tuple[Setting, dict[str, float]]:
    seconds = bench.seconds(TRY_SECONDS)
    speeds = {each: speed(run_inprocess(bench, model, each, seconds)) for each in settings}
    return max(speeds, key=lambda each: speeds[each]), {str(k): v for k, v in speeds.items()}
