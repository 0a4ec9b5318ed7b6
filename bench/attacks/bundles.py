"""Hostile bundles, published to a running server."""

import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from support import hostile
from support.tiny import write_tiny

from bench.attacks.results import Result
from bench.attacks.run import Run
from bench.attacks.server import Memory, Server

__all__ = ["hostile_bundles"]

WAIT_SECONDS = 40.0
# By default, validating may take 60 s, and a server waits for that long.
LIMIT = ("--max-load-seconds", "4")
POLL = ("--poll-seconds", "0.2")
ATTACKS: dict[str, Callable[[Path, str], Path]] = {
    "an endless loop": hostile.write_endless_loop,
    "a golden.npz of 3 MB that inflates to 3 GB": lambda root, model: (
        hostile.write_inflating_golden(root, model, mib=3000)
    ),
    "a graph with a constant of 3 GB": hostile.write_large_constant,
    "a graph that takes 300 MB for each input": lambda root, model: hostile.write_large_batch(
        root, model, mib=300
    ),
    "a FIFO in place of a file": hostile.write_fifo,
}


def hostile_bundles(run: Run) -> Iterator[Result]:
    """Attack a server with each bundle; SIGTERM comes while another one loads."""
    for attack, write in ATTACKS.items():
        folder = run.scratch / attack.replace(" ", "-")
        models, made = folder / "models", folder / "made"
        write_tiny(models)
        write(made, "hostile")
        write_tiny(made, "next")
        with run.serving(*LIMIT, *POLL, models=models) as server:
            with run.honest(server) as caller:
                figures = caller.during(attack, partial(_publish, server, made, models))
            shutil.copytree(models / "hostile", made / "again", copy_function=_copy)
            shutil.move(made / "again", models / "again")
            time.sleep(1.0)
            figures["stopped_seconds"] = server.stop()
        yield Result("bundles", attack, figures, *caller.traffic(attack))
        shutil.rmtree(folder)


def _publish(server: Server, made: Path, models: Path) -> dict[str, Any]:
    memory = Memory(server)
    shutil.move(made / "hostile", models / "hostile")
    rejected = _wait(server, ("bundle rejected", "bundle refused"), "hostile")
    shutil.move(made / "next", models / "next")
    loaded = _wait(server, ("model ready",), "next")
    return {
        "rejected_seconds": rejected,
        "loaded_seconds": loaded,
        "growth_mb": memory.own_peak_mb(),
    }


def _wait(server: Server, events: tuple[str, ...], model: str) -> float | None:
    """Return after how many seconds an event is in the log; None if it isn't soon enough."""
    began = time.monotonic()
    while server.is_running and time.monotonic() < began + WAIT_SECONDS:
        for event in events:
            if any(line.get("model") == model for line in server.events(event)):
                return time.monotonic() - began
        time.sleep(0.05)
    return None


def _copy(source: str, target: str) -> None:
    """Link a file instead of copying it; a FIFO can be linked too."""
    Path(target).hardlink_to(source)
