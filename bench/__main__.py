"""Measure the server and its peers, and write bench/results/."""

import argparse
import struct
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc

import bench.keys  # noqa: F401  (registers the measurements)
from bench.context import Bench
from bench.errors import BenchError
from bench.machine import describe, share_taken_by_others
from bench.registry import MEASUREMENTS
from bench.report import merge, write
from bench.targets import PEER_NAMES

__all__ = ["main"]

FAILURES = (
    *(BenchError, OSError, LookupError, TypeError, ValueError, RuntimeError),
    *(grpc.RpcError, struct.error, subprocess.SubprocessError),
)


def main() -> int:
    """Run the measurements. The exit code is 1 if one of them failed."""
    arguments = _parse()
    names = arguments.only or list(MEASUREMENTS)
    if arguments.no_peers:
        names = [name for name in names if name != "peers"]
    document: dict[str, Any] = {**describe(), "quick": arguments.quick}
    document.update({"details": {}, "failures": {}})
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
    print(f"{name:28}", end="", flush=True)
    busy = share_taken_by_others()
    machine = document["machine"]
    machine["taken_by_others"] = max(busy, machine.get("taken_by_others", 0.0))
    started_at = time.perf_counter()
    try:
        measured = MEASUREMENTS[name](run)
    except FAILURES as error:  # a failed measurement must not stop the others
        document["failures"][name] = f"{type(error).__name__}: {error}"
        print(f"failed: {error}", flush=True)
        return
    merge(document, measured.figures)
    document["details"][name] = {**measured.details, "taken_by_others": busy}
    print(f"{time.perf_counter() - started_at:6.1f} s  {_show(measured.figures)}", flush=True)


def _show(figures: dict[str, Any]) -> str:
    parts = (
        f"{key}: ({_show(value)})" if isinstance(value, dict) else f"{key} {value:.3g}"
        for key, value in figures.items()
        if value is not None
    )
    return ", ".join(parts)


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
