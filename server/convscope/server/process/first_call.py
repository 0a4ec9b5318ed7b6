"""How a person calls the server that has just started in a terminal."""

import shutil
import sys
from pathlib import Path

import structlog

from convscope.server.frontend.addresses import is_loopback, split_address
from convscope.server.frontend.settings import FrontendSettings

__all__ = ["call_command", "show_first_call"]

log = structlog.get_logger(__name__)

EVERYWHERE = ("0.0.0.0", "[::]")
CLIENTS_DEFAULT = ("localhost", 8001)


def show_first_call(settings: FrontendSettings, port: int) -> None:
    """Log how to call the server, if a person may read it at a terminal.

    Args:
        settings: The settings of the listeners.
        port: The port of gRPC.
    """
    if sys.stderr.isatty():
        log.info("call it from another terminal", command=call_command(settings, port))


def call_command(settings: FrontendSettings, port: int) -> str:
    """Return a command that calls the server; FILE is what only the caller knows."""
    host, _ = split_address(settings.grpc_address)
    if host in EVERYWHERE or is_loopback(settings.grpc_address):
        host = "localhost"
    words = [_client(), "models"]
    if (host, port) != CLIENTS_DEFAULT:
        words += ["--server", f"{host}:{port}"]
    if settings.tls_certificate is not None:
        words += ["--root-certificates", "FILE"]
    if settings.tls_client_ca is not None:
        words += ["--client-certificate", "FILE", "--client-key", "FILE"]
    if settings.policy is not None:
        words += ["--token-file", "FILE"]
    return " ".join(words)


def _client() -> str:
    """Return the client's program: its name, or its path if the shell doesn't find it."""
    beside, here = Path(sys.argv[0]).absolute().with_name("convscope"), Path.cwd()
    if shutil.which("convscope") is not None or not beside.is_file():
        return "convscope"
    is_below = beside.is_relative_to(here) and beside.parent != here
    return str(beside.relative_to(here) if is_below else beside)
