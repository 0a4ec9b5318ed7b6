"""Why there is no connection to a server: its TLS, or a proxy of the environment."""

import os
import re
from collections.abc import Mapping
from threading import Lock
from time import monotonic
from urllib.parse import urlsplit

from convscope._grpc_messages import connection_problem
from convscope.client._connection.targets import is_local
from convscope.client._connection.tls_files import TlsFiles
from convscope.client._connection.tls_problem import split_target, tls_problem

__all__ = ["Diagnosis", "proxy_variable"]

# gRPC reads these, in this order, and only in lower case.
PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
EXCEPTION_VARIABLES = ("no_grpc_proxy", "no_proxy")
# These have nothing to do with TLS, and a handshake would take long or fail in the same way.
_NO_HANDSHAKE = re.compile(
    r"connection refused|timed? ?out|unreachable|no route|resol|lookup|domain name"
    r"|no such file|empty address",
    re.I,
)
_WEB_SERVER = re.compile(r"http1\.x server", re.I)
# Calls in flight fail together, and one handshake explains them all.
FRESH_SECONDS = 5.0


class Diagnosis:
    """Explains why the calls to one server fail. Safe to use from several threads.

    Args:
        target: The server.
        files: What the client uses in the handshake; None without TLS.
        uses_proxy: Whether the client may connect through a proxy of the environment.
    """

    def __init__(self, target: str, files: TlsFiles | None, *, uses_proxy: bool = True) -> None:
        self._target = target
        self._uses_proxy = uses_proxy
        self._files = files
        self._tls_problem = ""
        self._stale_at = 0.0
        self._lock = Lock()

    def problem(self, details: str) -> str:
        """Return why there is no connection; empty if that is unknown. It takes a second at most.

        Args:
            details: gRPC's own message.
        """
        if self._uses_proxy and (variable := proxy_variable(self._target)):
            return (
                f"no server answers at {self._target} through the proxy of ${variable}; to reach "
                f"it directly, add {_host(self._target)} to $no_proxy "
                f"({connection_problem(details)})"
            )
        if _WEB_SERVER.search(details):
            return (
                f"{self._target} is a web server, not the gRPC port of a convscope server; give "
                "the address of its --grpc-address, by default port 8001"
            )
        if _NO_HANDSHAKE.search(details):
            return ""
        with self._lock:
            if self._stale_at < monotonic():
                self._tls_problem = tls_problem(self._target, self._files)
                self._stale_at = monotonic() + FRESH_SECONDS
            return self._tls_problem


def proxy_variable(target: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the variable whose proxy gRPC uses for a target; empty if it uses none."""
    if split_target(target) is None or is_local(target):
        return ""
    exceptions = next(filter(None, map(environment.get, EXCEPTION_VARIABLES)), "")
    host = _host(target).lower()
    if any(each and host.endswith(each) for each in exceptions.lower().replace(" ", "").split(",")):
        return ""
    found = (name for name in PROXY_VARIABLES if urlsplit(environment.get(name, "")).hostname)
    return next(found, "")


def _host(target: str) -> str:
    return (split_target(target) or (target, 0))[0]
