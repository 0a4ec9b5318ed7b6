"""Closed loops with h2load, a client in C, so that the server is the bottleneck."""

import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median

from bench.cpu import Usage, Watch
from bench.errors import BenchError, TooFewCallsError
from bench.parsing import Answered, Call, parse_h2load, parse_log, steady_rate
from bench.sampling import Sample

__all__ = [
    "CONNECTIONS",
    "Loop",
    "Request",
    "closed_loop",
    "counted",
    "grpc_frame",
    "grpc_request",
]

TIMEOUT_SECONDS = 30.0
COUNTED_SECONDS = 120.0
CONNECTIONS = 4
# Fewer replies than MIN_REPLIES give no rate. The loop is then repeated with a longer duration.
MIN_REPLIES = 20
LONGER = 4.0
# CPU time is measured between these distances from the ends of a loop, while h2load is busy.
MARGIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Request:
    """One call that is repeated.

    Args:
        url: The http URL.
        body: The bytes to post. For gRPC they include the frame.
        grpc: Whether the call uses gRPC over HTTP/2; otherwise HTTP/1.1.
        headers: Further headers, as NAME: VALUE.
    """

    url: str
    body: bytes
    grpc: bool = True
    headers: tuple[str, ...] = ()


def grpc_frame(message: bytes) -> bytes:
    """Prepend gRPC's prefix to a message: the compression flag and the length."""
    return struct.pack(">BI", 0, len(message)) + message


def grpc_request(target: str, method: str, message: bytes) -> Request:
    """Make the request of a gRPC method, such as package.Service/Method."""
    headers = ("content-type: application/grpc", "te: trailers")
    return Request(f"http://{target}/{method}", grpc_frame(message), True, headers)


@dataclass(frozen=True, slots=True)
class Loop:
    """The result of a closed loop.

    Args:
        answered: The number of calls that completed.
        calls: The successful calls.
        usage: The CPU time of `server` and `generator` in a window within the loop.
    """

    answered: Answered
    calls: Sequence[Call]
    usage: Usage

    def rate(self) -> Sample:
        """Return the calls per second."""
        return self._sample(steady_rate([call.ended for call in self.calls]))

    def latency_ms(self) -> Sample:
        """Return the median latency in milliseconds."""
        return self._sample(1000 * median(call.seconds for call in self.calls))

    def _sample(self, value: float) -> Sample:
        usage = self.usage
        ended = sum(usage.began <= call.ended <= usage.ended for call in self.calls)
        cpu_us = 1e6 * usage.cpu_seconds["server"] / ended if ended else None
        return Sample(value, usage.others, cpu_us, usage.cores("generator"))


def closed_loop(
    request: Request,
    scratch: Path,
    *,
    server: Sequence[int],
    in_flight: int,
    seconds: float,
    warm_up: float = 0.5,
    connections: int = CONNECTIONS,
) -> Loop:
    """Keep a number of calls in flight for a duration, which is extended when few complete.

    Args:
        request: The call.
        scratch: The directory for h2load's files.
        server: The processes of the server.
        in_flight: The number of concurrent calls.
        seconds: The duration.
        warm_up: The seconds before that, in which nothing is measured.
        connections: The connections of gRPC, at most one for each call in flight.

    Raises:
        BenchError: h2load is missing or failed.
        TooFewCallsError: Too few calls completed to compute a rate.
    """
    command = _command(request, scratch, in_flight, connections)
    command += ["--warm-up-time", f"{round(1000 * warm_up)}ms"]
    for duration in (seconds, LONGER * seconds):
        timed = [*command, "-D", f"{round(1000 * duration)}ms", request.url]
        loop = _loop(timed, scratch, server, warm_up, duration)
        if loop.answered.succeeded >= MIN_REPLIES:
            return loop
    raise TooFewCallsError(
        f"only {loop.answered.succeeded} calls completed in {duration:g} s, too few for a rate; "
        f"{loop.answered.failed} failed"
    )


def counted(request: Request, scratch: Path, *, in_flight: int, calls: int) -> Answered:
    """Make a number of calls, some of them concurrently.

    Raises:
        BenchError: h2load is missing or failed.
    """
    command = [*_command(request, scratch, min(in_flight, calls)), "-n", str(calls), request.url]
    with _start(command, scratch) as process:
        return _finish(process, COUNTED_SECONDS)


def _loop(
    command: list[str], scratch: Path, server: Sequence[int], warm_up: float, duration: float
) -> Loop:
    with _start(command, scratch) as process:
        time.sleep(warm_up + MARGIN_SECONDS)
        watch = Watch(server=server, generator=[process.pid])
        time.sleep(max(0.0, duration - 2 * MARGIN_SECONDS))
        usage = watch.read()
        answered = _finish(process, TIMEOUT_SECONDS)
    return Loop(answered, parse_log(_log(scratch).read_text()), usage)


def _start(command: list[str], scratch: Path) -> "subprocess.Popen[str]":
    _log(scratch).unlink(missing_ok=True)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _finish(process: "subprocess.Popen[str]", timeout: float) -> Answered:
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise BenchError(f"h2load did not end within {timeout:.0f} s") from error
    if process.returncode != 0:
        raise BenchError(f"h2load ended with {process.returncode}: {errors.strip()[-300:]}")
    return parse_h2load(output)


def _log(scratch: Path) -> Path:
    """Return the file in which h2load logs each call. Each thread of the bench has its own."""
    return scratch / f"calls-{threading.get_ident()}.tsv"


def _command(
    request: Request, scratch: Path, in_flight: int, connections: int = CONNECTIONS
) -> list[str]:
    program = shutil.which("h2load")
    if program is None:
        raise BenchError("h2load is missing; install Debian's nghttp2-client or run bench/setup.sh")
    body = scratch / f"{sha256(request.body).hexdigest()[:16]}.body"
    if not body.exists():
        body.write_bytes(request.body)
    command = [program, "-t", "1", "-d", str(body), f"--log-file={_log(scratch)}"]
    if request.grpc:
        connections = min(connections, in_flight)
        command += ["-c", str(connections), "-m", str(in_flight // connections)]
    else:
        command += ["--h1", "-c", str(in_flight)]
    for header in request.headers:
        command += ["-H", header]
    return command
