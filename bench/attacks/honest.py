"""An honest caller, who calls with the SDK at a steady rate while the server is attacked."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from bench.attacks.results import Call, Traffic
from bench.attacks.server import Server
from bench.context import ROOT
from bench.errors import BenchError

__all__ = ["Honest", "honest", "polite"]

T = TypeVar("T")
POLITE = 10  # the niceness of attackers, so that they leave the cores to the server
END_SECONDS = 40.0


class Honest:
    """The caller's process.

    Args:
        process: The process, which calls already.
        output: The file of its calls.
        seconds: How long quiet windows are.
    """

    def __init__(self, process: "subprocess.Popen[str]", output: Path, seconds: float) -> None:
        self._process = process
        self._output = output
        self._seconds = seconds
        self._windows: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {}
        self._calls: list[Call] = []

    def during(self, attack: str, run: Callable[[], T]) -> T:
        """Let the server be for a while, then attack it.

        Args:
            attack: The attack in words.
            run: Attacks; it runs in a thread of low priority.
        """
        began = time.monotonic()
        time.sleep(self._seconds)
        quiet = began, time.monotonic()
        try:
            with ThreadPoolExecutor(1, initializer=polite) as pool:
                return pool.submit(run).result()
        finally:
            self._windows[attack] = quiet, (quiet[1], time.monotonic())

    def traffic(self, attack: str) -> tuple[Traffic, Traffic]:
        """Return the calls before and during an attack; the caller has to have ended."""
        quiet, attacked = self._windows[attack]
        return self._within(*quiet), self._within(*attacked)

    def _within(self, began: float, ended: float) -> Traffic:
        return Traffic.of([call for call in self._calls if began <= call.due < ended])

    def end(self) -> None:
        """Call no more, and collect the calls.

        Raises:
            BenchError: The caller failed.
        """
        try:
            _, err = self._process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise BenchError("the honest caller did not end") from None
        if self._process.returncode:
            raise BenchError(f"the honest caller failed: {err[-400:]}")
        self._calls = [Call(*fields) for fields in json.loads(self._output.read_text())]


@contextmanager
def honest(server: Server, output: Path, seconds: float, **options: Any) -> Iterator[Honest]:
    """Call a server for the duration of a with block.

    Args:
        server: The server.
        output: The file of the calls.
        seconds: How long the quiet window before each attack is.
        options: Those of the caller; see `bench.attacks.caller`.

    Raises:
        BenchError: The server doesn't answer, or the caller failed.
    """
    task: Mapping[str, Any] = {"target": server.target, "output": str(output), **options}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.attacks.caller", json.dumps(task)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    caller = Honest(process, output, seconds)
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            caller.end()
            raise BenchError("the honest caller is not answered")
        yield caller
        caller.end()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def polite() -> None:
    """Lower the priority of the calling thread, on Linux."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, POLITE + os.getpriority(os.PRIO_PROCESS, os.getpid()))
