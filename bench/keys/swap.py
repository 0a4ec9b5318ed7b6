"""Measure failed and slow requests while versions are swapped."""

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

from bench.background import meanwhile
from bench.bundles import bundle
from bench.context import Bench
from bench.openloads import Outcome, opened
from bench.photos import digit, tensor_message
from bench.registry import Measured, measurement
from bench.sampling import Figure, Sample
from bench.servers import Server, serving
from convscope.client import AdminClient

MODEL, SHAPE = "digits", (28, 28, 1)
# In total 20,000 requests, for two kinds of calls, during 51 swaps.
RATE, SECONDS, SWAPS = 250.0, 13.4, 17
QUIET_SECONDS = 4.0
DEADLINE_SECONDS = 5.0
POLL_SECONDS = 0.2

Outcomes = dict[str, Outcome]


@measurement("swap_failures")
def swaps(bench: Bench) -> Measured:
    """Count requests that fail while versions change by poll, alias and admin call."""
    repository = bench.scratch / "swaps"
    shelf = _prepare(bench, repository)
    address = f"unix:{bench.scratch / 'admin.sock'}"
    flags = ("--poll-seconds", str(POLL_SECONDS), "--admin-address", address)
    seconds = bench.seconds(SECONDS)
    quiets: list[Outcomes] = []
    swapped: list[Outcomes] = []
    with (
        serving(repository, *flags, tuning_cache=bench.tuning_cache) as server,
        AdminClient(address) as admin,
    ):
        swapper = _Swapper(repository, shelf, admin)

        def quiet() -> Sample:
            quiets.append(_traffic(bench, server, bench.seconds(QUIET_SECONDS)))
            return _slower(quiets[-1])

        def busy() -> Sample:
            with meanwhile(lambda: swapper.run(seconds)):
                swapped.append(_traffic(bench, server, seconds))
            return _slower(swapped[-1])

        samples = bench.interleave(quiet=quiet, swapped=busy)
    codes = [outcome.figures["codes"] for window in swapped for outcome in window.values()]
    asked, answered = sum(sum(c.values()) for c in codes), sum(c.get("OK", 0) for c in codes)
    return Measured(
        {
            "swap_failures": Figure(asked - answered),
            "swap_p99_ratio": samples.ratio("swapped", "quiet"),
        },
        {
            "requests": asked,
            "swaps": swapper.done,
            "p99_ms": samples.details(),
            "quiet": [_figures(window) for window in quiets],
            "swapped": [_figures(window) for window in swapped],
        },
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


def _traffic(bench: Bench, server: Server, seconds: float) -> Outcomes:
    """Make requests at a constant rate for the default version, and as many for an alias."""

    def ask(kind: str) -> Outcome:
        extra = {"alias": "champion"} if kind == "alias" else {}
        scratch = bench.scratch / kind
        scratch.mkdir(exist_ok=True)
        return opened(
            server,
            tensor_message(MODEL, digit(), SHAPE, **extra),
            scratch,
            rate=RATE,
            seconds=seconds,
            deadline_seconds=DEADLINE_SECONDS,
        )

    kinds = ("default", "alias")
    with ThreadPoolExecutor(len(kinds)) as pool:
        return dict(zip(kinds, pool.map(ask, kinds), strict=True))


def _slower(outcomes: Outcomes) -> Sample:
    """Return the larger p99. The CPU time of the two kinds can't be told apart."""
    samples = [outcome.p99_ms() for outcome in outcomes.values()]
    slower = max(samples, key=lambda sample: sample.value)
    return replace(slower, others=max(sample.others for sample in samples), cpu_us=None)


def _figures(outcomes: Outcomes) -> dict[str, Any]:
    return {kind: outcome.figures for kind, outcome in outcomes.items()}


class _Swapper:
    """Swaps versions in several ways, and counts the swaps.

    Args:
        repository: The repository.
        shelf: The second version while it is not published.
        admin: The client of AdminService.
    """

    def __init__(self, repository: Path, shelf: Path, admin: AdminClient) -> None:
        self._repository = repository
        self._shelf, self._second = shelf, repository / MODEL / "2"
        self._admin = admin
        ways: tuple[tuple[str, Callable[[], object]], ...] = (
            ("poll", lambda: self._shelf.rename(self._second)),
            ("alias", self._move_alias),
            ("poll", lambda: self._second.rename(self._shelf)),
            ("admin", self._publish),
            ("admin", self._withdraw),
        )
        self._steps = cycle(ways)
        self.done: dict[str, int] = {}

    def run(self, seconds: float) -> None:
        """Swap 17 times within some seconds, or as often as possible."""
        until = time.monotonic() + 0.9 * seconds
        pause = 0.8 * seconds / SWAPS
        goal = sum(self.done.values()) + SWAPS
        while sum(self.done.values()) < goal and time.monotonic() + pause < until:
            time.sleep(pause)
            way, step = next(self._steps)
            step()
            self.done[way] = self.done.get(way, 0) + (2 if way == "alias" else 1)

    def _publish(self) -> None:
        self._shelf.rename(self._second)
        self._admin.load(MODEL)

    def _withdraw(self) -> None:
        self._second.rename(self._shelf)
        self._admin.load(MODEL)

    def _move_alias(self) -> None:
        for version in (2, 1):
            _write_alias(self._repository, version)
            time.sleep(2 * POLL_SECONDS)
