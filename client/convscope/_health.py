"""The health of a server, by grpc.health.v1, for probes.

A probe runs every few seconds, so that nothing here imports the client, NumPy, protobuf or Typer.
`convscope health` comes here first, and uses the whole command line only for its help, for a
token, and to report a mistake.
"""

import getopt
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, sleep

import grpc

from convscope._grpc_messages import connection_problem, lost_call

__all__ = ["DEFAULT_SERVER", "DEFAULT_TIMEOUT", "Health", "check", "main", "report"]

DEFAULT_SERVER = "localhost:8001"
DEFAULT_TIMEOUT = 5.0
MIN_TIMEOUT = 0.001
ADDRESS = re.compile(r"(\[[\da-fA-F:]+\]|[\w.-]+):([1-9]\d{0,3}|[1-5]\d{4})")
SERVING = "SERVING"
METHOD = "/grpc.health.v1.Health/Check"
STATES = ("UNKNOWN", SERVING, "NOT_SERVING", "SERVICE_UNKNOWN")
PAUSE_SECONDS = 0.2
# A container may have a proxy in its environment, which is not the way to the server.
OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)
FLAGS = {
    "server": "CONVSCOPE_SERVER",
    "model": "",
    "wait": "",
    "timeout": "",
    "root-certificates": "CONVSCOPE_ROOT_CERTIFICATES",
    "client-certificate": "CONVSCOPE_CLIENT_CERTIFICATE",
    "client-key": "CONVSCOPE_CLIENT_KEY",
}
FILES = ("root-certificates", "client-key", "client-certificate")  # in the order of gRPC
TOKENS = ("CONVSCOPE_TOKEN", "CONVSCOPE_TOKEN_FILE")


@dataclass(frozen=True, slots=True)
class Health:
    """What a server reports.

    Args:
        server: The server's address.
        model: The model; None for the whole server.
        status: SERVING, NOT_SERVING and so on; the code of the error if the check failed.
        message: The message of the error.
    """

    server: str
    model: str | None
    status: str
    message: str = ""

    @property
    def is_serving(self) -> bool:
        """Whether calls are served."""
        return self.status == SERVING


def check(
    server: str,
    model: str | None = None,
    *,
    wait: float = 0.0,
    timeout: float = DEFAULT_TIMEOUT,
    credentials: grpc.ChannelCredentials | None = None,
    metadata: Sequence[tuple[str, str]] = (),
) -> Health:
    """Return the health of a server, or of one of its models.

    Args:
        server: The server's HOST:PORT.
        model: The model; None for the whole server.
        wait: How long to wait until it is serving, in seconds.
        timeout: How long one check may take, in seconds.
        credentials: The credentials of TLS; None for no TLS.
        metadata: What is sent, such as a token.
    """
    end = monotonic() + wait
    if credentials is None:
        channel = grpc.insecure_channel(server, OPTIONS)
    else:
        channel = grpc.secure_channel(server, credentials, OPTIONS)
    with channel:
        # The messages are short enough to write and read here.
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            METHOD, _unchanged, _unchanged
        )
        while True:
            remaining = timeout if wait == 0 else max(0.01, min(timeout, end - monotonic()))
            health = _check_once(call, server, model, remaining, metadata)
            if health.is_serving or monotonic() + PAUSE_SECONDS >= end:
                return health
            sleep(PAUSE_SECONDS)


def _unchanged(message: bytes) -> bytes:
    return message


def _check_once(
    call: "grpc.UnaryUnaryMultiCallable[bytes, bytes]",
    server: str,
    model: str | None,
    timeout: float,
    metadata: Sequence[tuple[str, str]],
) -> Health:
    name = (model or "").encode()
    request = b"\n" + bytes([len(name)]) + name if name else b""  # HealthCheckRequest.service
    try:
        reply = call(request, timeout=timeout, metadata=tuple(metadata))
    except grpc.RpcError as error:
        if not isinstance(error, grpc.Call):
            raise
        return Health(server, model, error.code().name, error.details() or "")
    number = reply[1] if len(reply) == 2 and reply[0] == 8 else 0  # HealthCheckResponse.status
    return Health(server, model, STATES[number] if number < len(STATES) else STATES[0])


def report(health: Health, problem: str, as_json: bool) -> int:
    """Print a health; return the exit code: 0 if the server or the model is serving, else 1.

    Args:
        health: The health.
        problem: Why there is no connection, if that is known.
        as_json: Whether to print JSON instead of a sentence.
    """
    message = problem or _sentence(health)
    if as_json:
        print(json.dumps({**asdict(health), "message": "" if health.is_serving else message}))
    elif health.is_serving:
        print(f"{health.server} is serving{f' {health.model}' if health.model else ''}")
    if not health.is_serving and not as_json:
        print(f"error: {message}", file=sys.stderr)
    return 0 if health.is_serving else 1


def _sentence(health: Health) -> str:
    what = f" {health.model}" if health.model else ""
    if health.status == "NOT_SERVING":
        reason = "the model has no ready version" if what else "a model has no ready version"
        return (
            f"{health.server} is not serving{what}: it is loading or shutting down, or {reason}; "
            f"`{_models(health)}` lists the ready ones"
        )
    if health.status == "NOT_FOUND" and health.model:
        return (
            f"{health.server} has no model {health.model!r} that is loaded; `{_models(health)}` "
            "lists the loaded ones"
        )
    if health.status == "UNIMPLEMENTED":
        return f"{health.server} is a gRPC server without grpc.health.v1"
    if health.status == "DEADLINE_EXCEEDED":
        return f"no reply from {health.server} in time; allow more with --timeout or --wait"
    if health.status == "UNAVAILABLE":
        return (
            f"no server answers at {health.server} ({connection_problem(health.message)}); check "
            "the address, or start a server with: convscope-server --models DIR"
        )
    reason = lost_call(health.status, health.message) or health.message or "it gives no reason"
    return f"{health.server} reports {health.status}: {reason}"


def _models(health: Health) -> str:
    """Return the command that lists the models of the server."""
    server = "" if health.server == DEFAULT_SERVER else f" --server {health.server}"
    return f"convscope models{server}"


def main(arguments: Sequence[str]) -> int | None:
    """Check what the arguments name, and return the exit code; None to use the command line."""
    values = _read(arguments, os.environ)
    if values is None:
        return None
    try:
        wait, timeout = float(values.get("wait", 0)), float(values.get("timeout", DEFAULT_TIMEOUT))
        pems = [Path(values[name]).read_bytes() if name in values else None for name in FILES]
    except (ValueError, OSError):
        return None
    server, model = values.get("server", DEFAULT_SERVER), values.get("model")
    if not (ADDRESS.fullmatch(server) and wait >= 0 and timeout >= MIN_TIMEOUT):
        return None  # the command line explains it
    credentials = grpc.ssl_channel_credentials(*pems) if any(pems) else None
    health = check(server, model, wait=wait, timeout=timeout, credentials=credentials)
    if health.status == "UNAVAILABLE" and "refused" not in health.message:
        return None  # the command line explains it
    return report(health, "", "json" in values)


def _read(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the values of the flags and of the environment; None for anything unusual."""
    names = [f"{name}=" for name in FLAGS]
    try:
        pairs, rest = getopt.getopt(list(arguments), "", [*names, "json"])
    except getopt.GetoptError:
        return None
    given = {name.removeprefix("--"): value for name, value in pairs}
    written = {word.split("=")[0] for word in arguments if word.startswith("--")}
    is_abbreviated = not written >= {f"--{name}" for name in given}
    if rest or is_abbreviated or any(map(environment.get, TOKENS)):
        return None
    found = {name: environment.get(variable, "") for name, variable in FLAGS.items()}
    values = {name: value for name, value in found.items() if value} | given
    has_both = ("client-certificate" in values) == ("client-key" in values)
    return values if has_both and all(values.get(name) != "" for name in FLAGS) else None
