"""Measure the server and its peers, and write bench/results/."""

import argparse
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc

import bench.keys  # noqa: F401  (registers the measurements)
from bench.context import Bench
from bench.cpu import adopt_orphans
from bench.errors import BenchError
from bench.machine import describe
from bench.registry import MEASUREMENTS
from bench.report import write
from bench.sampling import Figure
from bench.targets import PEER_NAMES

__all__ = ["main"]

FAILURES = (
    *(BenchError, OSError, LookupError, TypeError, ValueError, RuntimeError),
    *(grpc.RpcError, struct.error, subprocess.SubprocessError),
)


def main() -> int:
    """Run the measurements. The exit code is 1 if one of them failed."""
    arguments = _parse()
    adopt_orphans()
    names = arguments.only or list(MEASUREMENTS)
    if arguments.no_peers:
        names = [name for name in names if name != "peers"]
    document: dict[str, Any] = {**describe(), "quick": arguments.quick}
    document.update({"figures": {}, "seconds": {}, "details": {}, "failures": {}})
    started_at = time.perf_counter()
    with TemporaryDirectory(prefix="bench-") as scratch:
        run = Bench(Path(scratch), arguments.quick, tuple(arguments.peers))
        for name in names:
            _measure(name, run, document)
    document["bench_seconds"] = time.perf_counter() - started_at
    whole = not arguments.quick and names == list(MEASUREMENTS)
    table = write(document, "latest" if whole else "partial")
    print(f"\n{table.read_text()}\nwritten to {table.parent}/{table.stem}.*")
    return 1 if document["failures"] else 0


def _measure(name: str, run: Bench, document: dict[str, Any]) -> None:
    print(f"{name:40}", end="", flush=True)
    started_at = time.perf_counter()
    try:
        measured = MEASUREMENTS[name](run)
    except FAILURES as error:  # a failed measurement must not stop the others
        reason = str(error)
        document["failures"][name] = (
            reason if isinstance(error, BenchError) else f"{type(error).__name__}: {reason}"
        )
        print(f"{time.perf_counter() - started_at:6.1f} s  not measured: {reason}", flush=True)
        return
    finally:
        document["seconds"][name] = time.perf_counter() - started_at
    document["figures"] |= measured.figures
    document["details"][name] = measured.details
    print(f"{document['seconds'][name]:6.1f} s  {_show(measured.figures)}", flush=True)


def _show(figures: Mapping[str, Figure]) -> str:
    return ", ".join(f"{key} {figure.value:.3g}" for key, figure in figures.items())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only",
        type=_names(MEASUREMENTS),
        metavar="NAME[,NAME]",
        help=f"measure only these: {', '.join(MEASUREMENTS)}",
    )
    parser.add_argument(
        "--peers",
        type=_names(PEER_NAMES),
        default=list(PEER_NAMES),
        metavar="NAME[,NAME]",
        help=f"measure only these peers: {', '.join(PEER_NAMES)}",
    )
    parser.add_argument("--no-peers", action="store_true", help="leave out the peers")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="take one short repetition of each, to check that it works",
    )
    return parser.parse_args()


def _names(known: Any) -> Any:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of: {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
