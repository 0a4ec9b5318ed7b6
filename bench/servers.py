"""The server under measurement, as a process on free ports."""

import json
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.loads import Request, closed_loop, grpc_request
from bench.parsing import Answered, parse_metrics
from bench.processes import Process, free_port, running, wait_for

__all__ = ["CLASSIFY", "SERVER", "Server", "serving"]

SERVER = (sys.executable, "-m", "convscope.server")
CLASSIFY = "convscope.v1.ClassifierService/Classify"
# A line for each call is worth its cost in production, and no peer writes one here.
FLAGS = ("--no-access-log", "--drain-seconds", "0")
START_SECONDS = 90.0
# What h2load cuts off when its time is over.
_CUT_OFF = frozenset({"Canceled"})


@dataclass(frozen=True, slots=True)
class Server:
    """A convscope-server that is ready.

    Args:
        process: Its process.
        target: Its HOST:PORT for gRPC.
        metrics_url: Where its metrics are.
        ready_seconds: From its start to its readiness.
    """

    process: Process
    target: str
    metrics_url: str
    ready_seconds: float

    def request(self, message: bytes, method: str = CLASSIFY) -> Request:
        """Make the call of a serialised request."""
        return grpc_request(self.target, method, message)

    def answered(self, method: str = CLASSIFY) -> dict[str, float]:
        """Count the answers to a method so far, by their gRPC code."""
        name_of_method = method.rpartition("/")[2]
        with urllib.request.urlopen(self.metrics_url, timeout=10) as reply:
            samples = parse_metrics(reply.read().decode())
        counts: dict[str, float] = {}
        for (name, labels), value in samples.items():
            fields = dict(labels)
            if name == "grpc_server_handled_total" and fields["grpc_method"] == name_of_method:
                code = fields["grpc_code"]
                counts[code] = counts.get(code, 0.0) + value
        return counts

    def saturate(
        self,
        message: bytes,
        scratch: Path,
        *,
        in_flight: int,
        seconds: float,
        warm_up: float = 0.5,
        method: str = CLASSIFY,
    ) -> Answered:
        """Run a closed loop, and check by the server's own count that every answer was OK.

        h2load sees only the HTTP status, which is 200 for a gRPC error too.

        Raises:
            BenchError: Some were not, or the count doesn't fit.
        """
        before = self.answered(method)
        request = self.request(message, method)
        answered = closed_loop(
            request, scratch, in_flight=in_flight, seconds=seconds, warm_up=warm_up
        )
        self.check(before, answered, method)
        return answered

    def check(self, before: dict[str, float], answered: Answered, method: str = CLASSIFY) -> None:
        """Hold h2load's count against the server's.

        Raises:
            BenchError: They don't agree, or an answer was an error.
        """
        after = self.answered(method)
        new = {code: after[code] - before.get(code, 0.0) for code in after}
        wrong = {code: n for code, n in new.items() if n and code not in {"OK", *_CUT_OFF}}
        if wrong or answered.failed or new.get("OK", 0.0) < answered.succeeded:
            raise BenchError(
                f"{answered.succeeded} answers arrived and {answered.failed} failed; "
                f"the server counts {new}"
            )


@contextmanager
def serving(
    models: Path, *flags: str, command: Sequence[str] = SERVER, seconds: float = START_SECONDS
) -> Iterator[Server]:
    """Serve a repository for the duration of a with block.

    Raises:
        BenchError: The server did not become ready.
    """
    grpc_port, metrics_port = free_port(), free_port()
    target, url = f"127.0.0.1:{grpc_port}", f"http://127.0.0.1:{metrics_port}/metrics"
    addresses = ("--grpc-address", target, "--metrics-address", f"127.0.0.1:{metrics_port}")
    # Of this run alone: a choice that was made on a busy machine must not spoil it.
    tuning = ("--tuning-cache", str(models.parent / "tuning.json"))
    started_at = time.perf_counter()
    with running(
        [*command, "--models", str(models), *addresses, *tuning, *FLAGS, *flags]
    ) as process:
        wait_for(
            process,
            "readiness",
            lambda: _serving_event(process) is not None,
            seconds=seconds,
            step=0.005,
        )
        ready_seconds = time.perf_counter() - started_at
        _check_models(process, models)
        yield Server(process, target, url, ready_seconds)


def _check_models(process: Process, models: Path) -> None:
    """Check that no bundle was refused: a missing model would be measured as an error's speed."""
    event = _serving_event(process)
    if event is None or event.get("rejected"):
        raise BenchError(f"the server refused bundles of {models.name}: {event}")


def _serving_event(process: Process) -> dict[str, Any] | None:
    """Find the line of the log that says where the server listens."""
    for line in list(process.lines):
        if line.startswith("{") and '"serving"' in line:
            event: dict[str, Any] = json.loads(line)
            if event.get("event") == "serving":
                return event
    return None
