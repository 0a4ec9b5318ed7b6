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
from bench.loads import CONNECTIONS, Loop, Request, closed_loop, grpc_request
from bench.parsing import Answered, Labels, parse_metrics
from bench.processes import Process, free_port, running, wait_for

__all__ = ["CLASSIFY", "SERVER", "Server", "serving"]

SERVER = (sys.executable, "-m", "convscope.server")
CLASSIFY = "convscope.v1.ClassifierService/Classify"
FLAGS = ("--drain-seconds", "0")
START_SECONDS = 90.0
COUNT_SECONDS = 5.0
# The code of calls that h2load cancels at the end.
_CUT_OFF = frozenset({"Canceled"})


@dataclass(frozen=True, slots=True)
class Server:
    """A convscope-server that is ready.

    Args:
        process: The process.
        target: The HOST:PORT for gRPC.
        metrics_url: The URL of the metrics.
        ready_seconds: The time from start to readiness.
    """

    process: Process
    target: str
    metrics_url: str
    ready_seconds: float

    def request(self, message: bytes, method: str = CLASSIFY) -> Request:
        """Make the call of a serialized request."""
        return grpc_request(self.target, method, message)

    def answered(self, method: str = CLASSIFY) -> dict[str, float]:
        """Return the number of completed calls of a method so far, by gRPC code."""
        name_of_method = method.rpartition("/")[2]
        samples = self._samples()
        counts: dict[str, float] = {}
        for (name, labels), value in samples.items():
            fields = dict(labels)
            if name == "grpc_server_handled_total" and fields["grpc_method"] == name_of_method:
                code = fields["grpc_code"]
                counts[code] = counts.get(code, 0.0) + value
        return counts

    def rejected(self) -> list[str]:
        """Return the models of which a version was rejected."""
        samples = self._samples().items()
        return [
            dict(labels)["model"]
            for (name, labels), value in samples
            if name == "convscope_model_refused" and value
        ]

    def _samples(self) -> dict[tuple[str, Labels], float]:
        with urllib.request.urlopen(self.metrics_url, timeout=10) as reply:
            return parse_metrics(reply.read().decode())

    def saturate(
        self,
        message: bytes,
        scratch: Path,
        *,
        in_flight: int,
        seconds: float,
        warm_up: float = 0.5,
        method: str = CLASSIFY,
        connections: int = CONNECTIONS,
    ) -> Loop:
        """Run a closed loop, and check in the server's metrics that every call succeeded.

        h2load sees only the HTTP status, which is 200 for a gRPC error too.

        Raises:
            BenchError: A call failed, or the counts differ.
        """
        before = self.answered(method)
        loop = closed_loop(
            self.request(message, method),
            scratch,
            server=[self.process.pid],
            in_flight=in_flight,
            seconds=seconds,
            warm_up=warm_up,
            connections=connections,
        )
        self._check(before, loop.answered, method)
        return loop

    def _check(self, before: dict[str, float], answered: Answered, method: str) -> None:
        """Compare h2load's count with the server's.

        Raises:
            BenchError: The counts differ, or a call failed.
        """
        until = time.monotonic() + COUNT_SECONDS
        new = self._new(before, method)
        while new.get("OK", 0.0) < answered.succeeded and time.monotonic() < until:
            time.sleep(0.1)  # the counts of several workers come together after a while
            new = self._new(before, method)
        wrong = {code: n for code, n in new.items() if n and code not in {"OK", *_CUT_OFF}}
        if wrong or answered.failed or new.get("OK", 0.0) < answered.succeeded:
            raise BenchError(
                f"{answered.succeeded} calls succeeded and {answered.failed} failed, but "
                f"the server counted {new}"
            )

    def _new(self, before: dict[str, float], method: str) -> dict[str, float]:
        """Return the number of calls since then, by gRPC code."""
        after = self.answered(method)
        return {code: after[code] - before.get(code, 0.0) for code in after}


@contextmanager
def serving(
    models: Path,
    *flags: str,
    tuning_cache: Path,
    command: Sequence[str] = SERVER,
    seconds: float = START_SECONDS,
    accept_rejections: bool = False,
) -> Iterator[Server]:
    """Serve a repository for the duration of a with block.

    Args:
        models: The repository.
        flags: Further flags of the server.
        tuning_cache: The file of the measured choices. It belongs to one run of the bench,
            because a choice that was made on a busy machine would spoil later runs.
        command: How to start the server.
        seconds: How long to wait for readiness.
        accept_rejections: Whether the server may have rejected bundles.

    Raises:
        BenchError: The server did not become ready, or has rejected a bundle.
    """
    grpc_port, metrics_port = free_port(), free_port()
    target, url = f"127.0.0.1:{grpc_port}", f"http://127.0.0.1:{metrics_port}/metrics"
    addresses = ("--grpc-address", target, "--metrics-address", f"127.0.0.1:{metrics_port}")
    tuning = ("--tuning-cache", str(tuning_cache))
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
        server = Server(process, target, url, ready_seconds)
        # Errors are fast, and would look like good figures.
        if not accept_rejections and (rejected := server.rejected()):
            raise BenchError(f"the server rejected bundles of {models.name}: {rejected}")
        yield server


def _serving_event(process: Process) -> dict[str, Any] | None:
    """Return the event of the log with which the server becomes ready."""
    for line in process.first_lines():
        if line.startswith("{") and '"serving"' in line:
            event: dict[str, Any] = json.loads(line)
            if event.get("event") == "serving":
                return event
    return None
