"""An honest caller, who calls with the SDK at a steady rate while the server is attacked."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from bench.attacks.results import Call, Traffic
from bench.attacks.server import Server
from bench.context import ROOT
from bench.errors import BenchError

__all__ = ["Honest", "honest"]

T = TypeVar("T")
_Window = tuple[float, float]
END_SECONDS = 40.0


class Honest:
    """The caller's process.

    Args:
        process: The process, which calls already.
        output: The file of its calls.
        seconds: How long quiet windows are.
        yields: Whether attackers run only when a core is free. They stand for other machines,
            which have cores of their own.
    """

    def __init__(
        self, process: "subprocess.Popen[str]", output: Path, seconds: float, yields: bool
    ) -> None:
        self._process = process
        self._output = output
        self._seconds = seconds
        self._yields = yields
        self._windows: dict[str, list[tuple[_Window, _Window]]] = {}
        self._calls: list[Call] = []

    def during(self, attack: str, run: Callable[[], T], rounds: int = 1) -> T:
        """Let the server be for a while, then attack it; return the result of the first round.

        Args:
            attack: The attack in words.
            run: Attacks; it runs in a thread of the attackers.
            rounds: How often; quiet windows and attacks alternate.
        """
        first, *_ = [self._round(attack, run) for _ in range(rounds)]
        return first

    def _round(self, attack: str, run: Callable[[], T]) -> T:
        began = time.monotonic()
        time.sleep(self._seconds)
        quiet = began, time.monotonic()
        try:
            with ThreadPoolExecutor(1, initializer=_yield if self._yields else None) as pool:
                return pool.submit(run).result()
        finally:
            windows = self._windows.setdefault(attack, [])
            windows.append((quiet, (quiet[1], time.monotonic())))

    def traffic(self, attack: str) -> tuple[Traffic, Traffic, Sequence[float]]:
        """Return the calls before and during an attack; the caller has to have ended.

        The third is the ratio of their p99 in each round.
        """
        rounds = [(self._within(a), self._within(b)) for a, b in self._windows[attack]]
        ratios = [Traffic.of(b).ratio(Traffic.of(a)) for a, b in rounds]
        quiet = Traffic.of([call for calls, _ in rounds for call in calls])
        attacked = Traffic.of([call for _, calls in rounds for call in calls])
        return quiet, attacked, [ratio for ratio in ratios if ratio is not None]

    def _within(self, window: _Window) -> list[Call]:
        began, ended = window
        return [call for call in self._calls if began <= call.due < ended]

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
def honest(
    server: Server, output: Path, seconds: float, yields: bool, **options: Any
) -> Iterator[Honest]:
    """Call a server for the duration of a with block.

    Args:
        server: The server.
        output: The file of the calls.
        seconds: How long the quiet window before each attack is.
        yields: Whether attackers run only when a core is free.
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
    caller = Honest(process, output, seconds, yields)
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


def _yield() -> None:
    """Let this process's threads run only when a core is free, on Linux; new ones inherit it.

    Even `nice 19` keeps a core for milliseconds when another thread becomes ready. The main thread
    is left as it is, because servers and callers that it starts inherit it.
    """
    for thread in Path("/proc/self/task").iterdir():
        if int(thread.name) != os.getpid():
            with suppress(OSError):  # it has ended
                os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
