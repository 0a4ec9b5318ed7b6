"""Measure one and two replicas behind Ray Serve, and what its proxy costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.bundles import LITE0, repository
from bench.context import ROOT, Bench
from bench.cpu import family, tree_seconds
from bench.errors import BenchError
from bench.openloads import Outcome, closed
from bench.processes import Process, free_port, running, wait_for
from bench.registry import Measured
from bench.sampling import Sample, Samples
from bench.scaling.replicas import LOADS, Load
from bench.servers import Server

__all__ = ["ray"]

PYTHON = ROOT / ".cache" / "ray" / "bin" / "python"
MEASURED = ("digits", "jpeg")
PAIRS = 3
SECONDS = 5.0
DEADLINE_SECONDS = 10.0
START_SECONDS = 180.0


def ray(bench: Bench) -> Measured:
    """Measure calls per second of two replicas, relative to one, and the CPU time of the proxy.

    The load comes from Python, which sees the status of each call. With Ray, it isn't the
    bottleneck.

    Raises:
        BenchError: Ray's environment is missing, or a call failed.
    """
    if not PYTHON.exists():
        raise BenchError("the environment of Ray is missing; make it with: scripts/ray.sh")
    with _serving(repository(bench, "digits", LITE0)) as server:
        proxy = _proxy(server.process)
        found = {name: _compare(bench, server, proxy, LOADS[name]) for name in MEASURED}
    return Measured(
        {f"ray.{name}": samples.ratio("two", "one") for name, (samples, _) in found.items()},
        {name: samples.details() for name, (samples, _) in found.items()}
        | {"proxy_us": {name: used for name, (_, used) in found.items()}},
    )


def _compare(bench: Bench, server: Server, proxy: int, load: Load) -> tuple[Samples, float]:
    """Return the rates of both applications, and the proxy's CPU time per call."""
    message = load.message()
    costs: list[float] = []

    def rate(application: str) -> Sample:
        before = tree_seconds(proxy)
        outcome = closed(
            server,
            message,
            bench.scratch,
            in_flight=load.in_flight,
            seconds=bench.seconds(SECONDS),
            deadline_seconds=DEADLINE_SECONDS,
            metadata={"application": application},
        )
        costs.append(1e6 * (tree_seconds(proxy) - before) / _answered(outcome))
        return outcome.goodput()

    samples = bench.interleave(PAIRS, one=lambda: rate("one"), two=lambda: rate("two"))
    return samples, median(costs)


@contextmanager
def _serving(models: Path) -> Iterator[Server]:
    port = free_port()
    command = [str(PYTHON), "-m", "bench.scaling.ray_server", str(models.resolve()), str(port)]
    with running(command) as process:
        wait_for(
            process,
            "Ray Serve",
            lambda: "serving" in process.last_lines(),
            seconds=START_SECONDS,
        )
        yield Server(process, f"127.0.0.1:{port}", "", 0.0)


def _proxy(process: Process) -> int:
    """Return the process id of Ray's proxy.

    Raises:
        BenchError: There is none.
    """
    for pid in family(process.pid):
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
        if title.startswith(b"ray::ProxyActor"):
            return pid
    raise BenchError("Ray has no process for its proxy")


def _answered(outcome: Outcome) -> int:
    """Return the number of calls.

    Raises:
        BenchError: A call failed.
    """
    codes: dict[str, int] = outcome.figures["codes"]
    if set(codes) != {"OK"}:
        raise BenchError(f"calls failed: {codes}")
    return codes["OK"]
