"""The machine's own share: the load of an attack, none of which reaches the server."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from bench.attacks.memory import LARGE, send_large
from bench.attacks.results import Result
from bench.attacks.run import Run
from bench.attacks.server import serving

__all__ = ["control"]

PROCESSES = 2
COMPUTE = """
import sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    pass
"""


def control(run: Run) -> Iterator[Result]:
    """Keep all cores busy, and attack another server, which yields to this one, too."""
    attacks = {
        f"{PROCESSES} processes that compute": lambda: _compute(run.seconds),
        f"{LARGE}, to another server": lambda: _elsewhere(run),
    }
    for attack, act in attacks.items():
        with run.serving() as server:
            yield run.beside(server, "control", attack, act, run.rounds)


def _compute(seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-c", COMPUTE, str(seconds)]
    for process in [subprocess.Popen(command) for _ in range(PROCESSES)]:
        process.wait()
    return {}


def _elsewhere(run: Run) -> dict[str, Any]:
    folder = run.scratch / "other"
    folder.mkdir(exist_ok=True)
    # A thread of the attackers starts it, so it has their priority.
    with serving(run.checkout, run.models, folder) as other:
        send_large(other)
    return {}
