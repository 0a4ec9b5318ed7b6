"""Publish hostile bundles to a running server, and show what each of them does to it.

`python -m bench.attack_bundles [PYTHON [FLAG...]]`

PYTHON is the interpreter of the server, such as that of another checkout, for figures from
before a change, and the flags are for the server. The bundles are: an endless loop, a file
of 3 MB with 3 GB of golden outputs, graphs that allocate 3 GB, and a FIFO. Each is published
beside a model that is called meanwhile. After each of them a valid bundle is published, and
then the server is stopped.
"""

import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import grpc

from bench.context import ROOT
from convscope.v1 import inference_pb2_grpc

sys.path.insert(0, str(ROOT / "tests"))  # it makes the bundles as the tests do

from support import hostile
from support.calls import image_request
from support.server import FRESH, ServerProcess
from support.tiny import write_tiny

WAIT_SECONDS = 90.0
STOP_SECONDS = 35.0
CALLS_PER_SECOND = 20

ATTACKS: dict[str, Callable[[Path, str], Path]] = {
    "endless loop": hostile.write_endless_loop,
    "golden.npz of 3 GB": lambda root, model: hostile.write_inflating_golden(root, model, mib=3000),
    "constant of 3 GB": hostile.write_large_constant,
    "batch of 3 GB": lambda root, model: hostile.write_large_batch(root, model, mib=300),
    "FIFO": hostile.write_fifo,
}


def main() -> None:
    """Attack a server with each bundle, and print a row for each."""
    python, *flags = sys.argv[1:] or [sys.executable]
    print("| bundle | rejected after | next loaded after | growth | p99 of others | SIGTERM |")
    print("|---|---|---|---|---|---|")
    for name, write in ATTACKS.items():
        with tempfile.TemporaryDirectory() as scratch:
            print(
                f"| {name} | {' | '.join(_attack(python, flags, Path(scratch), write))} |",
                flush=True,
            )


def _attack(
    python: str, flags: list[str], scratch: Path, write: Callable[[Path, str], Path]
) -> list[str]:
    models = scratch / "models"
    write_tiny(models)
    write(scratch / "made", "hostile")
    write_tiny(scratch / "made", "next")
    server = ServerProcess(
        models, "--poll-seconds", "0.2", *flags, command=(python, *FRESH[1:]), tuning=False
    )
    before, done, seconds = _memory_mb(server.process.pid), Event(), list[float]()
    calls = Thread(target=_call, args=(server.target, done, seconds))
    calls.start()
    began = time.monotonic()
    shutil.move(scratch / "made" / "hostile", models / "hostile")
    rejected = _wait(server, began, "bundle rejected", "hostile")
    shutil.move(scratch / "made" / "next", models / "next")
    loaded = _wait(server, time.monotonic(), "model ready", "next")
    grown = _peak_mb(server.process.pid) - before
    done.set()
    calls.join()
    return [
        _shown(rejected),
        _shown(loaded),
        f"{grown:,.0f} MB",
        f"{1000 * statistics.quantiles(seconds, n=100)[98]:.0f} ms",
        _shown(_stop(server)),
    ]


def _call(target: str, done: Event, seconds: list[float]) -> None:
    with grpc.insecure_channel(target) as channel:
        stub = inference_pb2_grpc.ClassifierServiceStub(channel)
        while not done.wait(1 / CALLS_PER_SECOND):
            began = time.perf_counter()
            stub.Classify(image_request(), timeout=60)
            seconds.append(time.perf_counter() - began)


def _wait(server: ServerProcess, began: float, event: str, model: str) -> float | None:
    """Return after how many seconds an event is in the log; None if it isn't soon enough."""
    while time.monotonic() < began + WAIT_SECONDS:
        if any(line["event"] == event and line.get("model") == model for line in server.log):
            return time.monotonic() - began
        if server.process.poll() is not None:
            return None
        time.sleep(0.05)
    return None


def _stop(server: ServerProcess) -> float | None:
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.process.kill()
        return None
    return time.monotonic() - began


def _shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


def _memory_mb(pid: int) -> float:
    return _status_mb(pid, "VmRSS:")


def _peak_mb(pid: int) -> float:
    """Return the highest memory that a process had, which excludes its children."""
    return _status_mb(pid, "VmHWM:")


def _status_mb(pid: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # the server has ended
        return float("nan")
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
