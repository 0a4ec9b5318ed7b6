"""Closed loops with h2load, a client in C, so that the server is the bottleneck."""

import shutil
import struct
import subprocess
import threading
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median

from bench.errors import BenchError
from bench.parsing import Answered, parse_h2load, parse_log

__all__ = [
    "Request",
    "closed_loop",
    "counted",
    "grpc_frame",
    "grpc_request",
    "median_latency",
]

TIMEOUT_SECONDS = 30.0
COUNTED_SECONDS = 120.0
CONNECTIONS = 4
# Fewer replies than MIN_REPLIES give no rate. The loop is then repeated with a longer duration.
MIN_REPLIES = 20
LONGER = 4.0


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


def closed_loop(
    request: Request, scratch: Path, *, in_flight: int, seconds: float, warm_up: float = 0.5
) -> Answered:
    """Keep a number of calls in flight for a duration, which is extended when few complete.

    Raises:
        BenchError: h2load is missing or failed, or too few calls completed to compute a rate.
    """
    command = _command(request, scratch, in_flight)
    command += ["--warm-up-time", f"{round(1000 * warm_up)}ms"]
    for duration in (seconds, LONGER * seconds):
        timed = [*command, "-D", f"{round(1000 * duration)}ms", request.url]
        answered = _run(timed, scratch, duration + warm_up + TIMEOUT_SECONDS)
        if answered.succeeded >= MIN_REPLIES:
            return answered
    raise BenchError(
        f"only {answered.succeeded} calls completed in {duration:g} s, too few for a rate; "
        f"{answered.failed} failed"
    )


def counted(request: Request, scratch: Path, *, in_flight: int, calls: int) -> Answered:
    """Make a number of calls, some of them concurrently.

    Raises:
        BenchError: h2load is missing or failed.
    """
    command = [*_command(request, scratch, min(in_flight, calls)), "-n", str(calls)]
    return _run([*command, request.url], scratch, COUNTED_SECONDS)


def median_latency(
    request: Request, scratch: Path, *, seconds: float, warm_up: float = 0.5
) -> tuple[Answered, float]:
    """Make one call at a time, and also return the median latency in seconds."""
    answered = closed_loop(request, scratch, in_flight=1, seconds=seconds, warm_up=warm_up)
    return answered, median(call.seconds for call in parse_log(_log(scratch).read_text()))


def _run(command: list[str], scratch: Path, timeout: float) -> Answered:
    log = _log(scratch)
    log.unlink(missing_ok=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"h2load did not end within {timeout:.0f} s") from error
    if done.returncode != 0:
        raise BenchError(f"h2load ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return parse_h2load(done.stdout, log.read_text())


def _log(scratch: Path) -> Path:
    """Return the file in which h2load logs each call. Each thread of the bench has its own."""
    return scratch / f"calls-{threading.get_ident()}.tsv"


def _command(request: Request, scratch: Path, in_flight: int) -> list[str]:
    program = shutil.which("h2load")
    if program is None:
        raise BenchError("h2load is missing; install Debian's nghttp2-client or run bench/setup.sh")
    body = scratch / f"{sha256(request.body).hexdigest()[:16]}.body"
    if not body.exists():
        body.write_bytes(request.body)
    command = [program, "-t", "1", "-d", str(body), f"--log-file={_log(scratch)}"]
    if request.grpc:
        connections = min(CONNECTIONS, in_flight)
        command += ["-c", str(connections), "-m", str(in_flight // connections)]
    else:
        command += ["--h1", "-c", str(in_flight)]
    for header in request.headers:
        command += ["-H", header]
    return command
