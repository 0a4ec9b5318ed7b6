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


def main() -> int:
    """Run the measurements. The exit code is 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling.measure", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="take one short repetition of each, to check that it works; writes partial.scale.json",
    )
    quick = parser.parse_args().quick
    adopt_orphans()
    document: dict[str, Any] = {**describe(), "quick": quick}
    document.update({"figures": {}, "details": {}, "failures": {}})
    with TemporaryDirectory(prefix="bench-") as scratch:
        run = Bench(Path(scratch), quick)
        for name, measure in MEASUREMENTS.items():
            _measure(name, measure, run, document)
    path = RESULTS / ("partial.scale.json" if quick else "scale.json")
    path.write_text(json.dumps(rounded(document), indent=2, ensure_ascii=False) + "\n")
    print(f"written to {path}")
    return 1 if document["failures"] else 0


def _measure(
    name: str, measure: Callable[[Bench], Measured], run: Bench, document: dict[str, Any]
) -> None:
    started_at = time.perf_counter()
    try:
        measured = measure(run)
    except BenchError as error:  # the other measurements are of use without it
        document["failures"][name] = str(error)
        print(f"{name}: not measured: {error}", flush=True)
        return
    document["figures"] |= measured.figures
    document["details"][name] = measured.details
    figures = ", ".join(f"{key} {one.value:.2f}" for key, one in measured.figures.items())
    print(f"{name}: {time.perf_counter() - started_at:.0f} s  {figures}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
