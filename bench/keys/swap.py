"""Measure failed and slow requests while versions are swapped."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from bench.bundles import bundle
from bench.context import Bench
from bench.errors import BenchError
from bench.openloads import opened
from bench.photos import digit, tensor_message
from bench.registry import Measured, measurement
from bench.servers import Server, serving
from convscope.client import AdminClient

MODEL, SHAPE = "digits", (28, 28, 1)
# In total 20,000 requests during 50 swaps.
RATE, SECONDS, SWAPS = 250.0, 40.0, 50
QUIET_SECONDS = 6.0
DEADLINE_SECONDS = 5.0
POLL_SECONDS = 0.2


@measurement("swap_failures")
def swaps(bench: Bench) -> Measured:
    """Count requests that fail while versions change by poll, alias and admin call."""
    repository = bench.scratch / "swaps"
    shelf = _prepare(bench, repository)
    address = f"unix:{bench.scratch / 'admin.sock'}"
    flags = ("--poll-seconds", str(POLL_SECONDS), "--admin-address", address)
    seconds = bench.seconds(SECONDS)
    with (
        serving(repository, *flags, tuning_cache=bench.tuning_cache) as server,
        AdminClient(address) as admin,
    ):
        quiet = _Traffic(bench, server).run(bench.seconds(QUIET_SECONDS))
        with _swapping(repository, shelf, admin, seconds) as done:
            busy = _Traffic(bench, server).run(seconds)
    answered = sum(answer["codes"].get("OK", 0) for answer in busy.values())
    asked = sum(sum(answer["codes"].values()) for answer in busy.values())
    p99 = {kind: busy[kind]["p99_seconds"] / quiet[kind]["p99_seconds"] for kind in busy}
    return Measured(
        {"swap_failures": asked - answered, "swap_p99_ratio": max(p99.values())},
        {"requests": asked, "swaps": done, "quiet": quiet, "swapped": busy, "p99_ratio": p99},
    )


def _prepare(bench: Bench, repository: Path) -> Path:
    """Make two versions of a model. The second starts in a hidden folder outside the model."""
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree(bundle(bench, MODEL), repository / MODEL / "1")
    shelf = repository / ".shelf"
    shutil.copytree(bundle(bench, MODEL), shelf)
    manifest = json.loads((shelf / "manifest.json").read_text())
    manifest["version"] = "2"
    (shelf / "manifest.json").write_text(json.dumps(manifest))
    _write_alias(repository, 1)
    return shelf


def _write_alias(repository: Path, version: int) -> None:
    beside = repository / MODEL / ".aliases.json"
    beside.write_text(json.dumps({"champion": version}))
    beside.rename(repository / MODEL / "aliases.json")


class _Traffic:
    """Requests at a constant rate for the default version, and for an alias."""

    def __init__(self, bench: Bench, server: Server) -> None:
        self._server = server
        self._scratch = {kind: bench.scratch / kind for kind in ("default", "alias")}
        self._answers: dict[str, dict[str, Any]] = {}

    def run(self, seconds: float) -> dict[str, dict[str, Any]]:
        threads = [
            threading.Thread(target=self._ask, args=(kind, seconds)) for kind in self._scratch
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(self._answers) != len(threads):
            raise BenchError("a load generator ended without a result")
        return self._answers

    def _ask(self, kind: str, seconds: float) -> None:
        extra = {"alias": "champion"} if kind == "alias" else {}
        self._scratch[kind].mkdir(exist_ok=True)
        self._answers[kind] = opened(
            self._server,
            tensor_message(MODEL, digit(), SHAPE, **extra),
            self._scratch[kind],
            rate=RATE,
            seconds=seconds,
            deadline_seconds=DEADLINE_SECONDS,
        )


@contextmanager
def _swapping(
    repository: Path, shelf: Path, admin: AdminClient, seconds: float
) -> Iterator[dict[str, int]]:
    """Swap versions in several ways during a with block, and count the swaps."""
    second = repository / MODEL / "2"

    def publish() -> None:
        shelf.rename(second)
        admin.load(MODEL)

    def withdraw() -> None:
        second.rename(shelf)
        admin.load(MODEL)

    def move_alias() -> None:
        _write_alias(repository, 2)
        time.sleep(2 * POLL_SECONDS)
        _write_alias(repository, 1)
        time.sleep(2 * POLL_SECONDS)

    ways: list[tuple[str, Callable[[], object]]] = [
        ("poll", lambda: shelf.rename(second)),
        ("alias", move_alias),
        ("poll", lambda: second.rename(shelf)),
        ("admin", publish),
        ("admin", withdraw),
    ]
    done: dict[str, int] = {}
    errors: list[Exception] = []
    stop = threading.Event()
    pause = 0.8 * seconds / SWAPS

    def swap() -> None:
        try:
            for way, step in cycle(ways):
                if stop.wait(pause) or sum(done.values()) >= SWAPS:
                    return
                step()
                done[way] = done.get(way, 0) + (2 if way == "alias" else 1)
        except Exception as error:  # noqa: BLE001 - it is raised below in the main thread
            errors.append(error)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()
    if errors:
        raise BenchError(f"a swap failed: {errors[0]}") from errors[0]
