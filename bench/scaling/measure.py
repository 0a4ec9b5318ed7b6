"""Measure one and two replicas, what grows with a fleet, and queues: `make scale`."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.context import Bench
from bench.cpu import adopt_orphans
from bench.errors import BenchError
from bench.machine import describe
from bench.registry import Measured
from bench.report import RESULTS, rounded
from bench.scaling.queueing import queueing
from bench.scaling.ray_replicas import ray
from bench.scaling.replicas import workers
from bench.scaling.sizes import sizes

__all__ = ["MEASUREMENTS", "main"]

MEASUREMENTS: dict[str, Callable[[Bench], Measured]] = {
    "workers": workers,
    "ray": ray,
    "bytes": sizes,
    "queue": queueing,
}

NOT_RUN = {"figures": {}, "details": {}, "failure": "it was not run yet"}


def main() -> int:
    """Run the measurements. The exit code is 1 if one of them failed."""
    arguments = _parse()
    adopt_orphans()
    names = arguments.only or list(MEASUREMENTS)
    path = RESULTS / ("partial.scale.json" if arguments.quick else "scale.json")
    document: dict[str, Any] = dict.fromkeys(MEASUREMENTS, NOT_RUN)
    if path.exists():
        document |= json.loads(path.read_text())
    with TemporaryDirectory(prefix="bench-") as scratch:
        run = Bench(Path(scratch), arguments.quick)
        for name in names:
            document[name] = {**describe(), "quick": arguments.quick, **_measure(name, run)}
            path.write_text(json.dumps(rounded(document), indent=2, ensure_ascii=False) + "\n")
    print(f"written to {path}")
    return 1 if any(document[name]["failure"] for name in names) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling.measure", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=MEASUREMENTS,
        help="measure only this, and keep the other results; can be repeated",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="take one short repetition of each, to check that it works; writes partial.scale.json",
    )
    return parser.parse_args()


def _measure(name: str, run: Bench) -> dict[str, Any]:
    """Return the figures and details of a measurement, or why there are none."""
    started_at = time.perf_counter()
    try:
        measured = MEASUREMENTS[name](run)
    except BenchError as error:  # the other measurements are of use without it
        print(f"{name}: not measured: {error}", flush=True)
        return {"figures": {}, "details": {}, "failure": str(error)}
    figures = ", ".join(f"{key} {one.value:.2f}" for key, one in measured.figures.items())
    print(f"{name}: {time.perf_counter() - started_at:.0f} s  {figures}", flush=True)
    return {"figures": measured.figures, "details": measured.details, "failure": ""}


if __name__ == "__main__":
    sys.exit(main())
