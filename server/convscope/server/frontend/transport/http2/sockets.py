"""Listening sockets, for the forms of addresses that gRPC accepts."""

import errno
import socket
from contextlib import suppress
from pathlib import Path

from convscope.server.frontend.addresses import split_address, unix_path

__all__ = ["allow_descriptors", "close", "listen"]

BACKLOG = 1024
UNIX_PORT = 1
_WILDCARDS = ("0.0.0.0", "[::]")
_ATTEMPTS = 5


def allow_descriptors(count: int) -> None:
    """Allow the process as many open files, or as many as it may allow itself."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(address: str, *, share_port: bool = False) -> tuple[list[socket.socket], int]:
    """Return sockets that listen on an address, and their port; 1 for a Unix socket.

    Args:
        address: HOST:PORT, or unix:PATH. A port of 0 is chosen by the system.
        share_port: Whether other processes listen on the port too.

    Raises:
        OSError: The address can't be bound.
        ValueError: The address has another form.
    """
    if (path := unix_path(address)) is not None:
        return [_listen_unix(path)], UNIX_PORT
    if address.startswith("unix-abstract:"):
        return [_listen_unix("\0" + address.removeprefix("unix-abstract:"))], UNIX_PORT
    host, port = split_address(address)
    places = _places(host)
    for attempt in range(_ATTEMPTS):
        try:
            return _listen_all(places, port, share_port=share_port)
        except OSError as error:
            # A port that is free at one of the host's addresses may be in use at another.
            if port or error.errno != errno.EADDRINUSE or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def close(one: socket.socket) -> None:
    """Close a listening socket, and remove its file if it has one."""
    if one.family == socket.AF_UNIX and one.fileno() >= 0:
        path = one.getsockname()
        if isinstance(path, str) and path:
            with suppress(OSError):
                Path(path).unlink()
    one.close()


def _places(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Return the addresses of a host."""
    if host in _WILDCARDS:
        both = socket.has_dualstack_ipv6()
        return [(socket.AF_INET6, "::")] if both else [(socket.AF_INET, "0.0.0.0")]
    found = socket.getaddrinfo(
        host.strip("[]"), None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list(dict.fromkeys((family, str(place[0])) for family, _, _, _, place in found))


def _listen_all(
    places: list[tuple[socket.AddressFamily, str]], port: int, *, share_port: bool
) -> tuple[list[socket.socket], int]:
    """Listen at every address that this machine has; at least at one."""
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    try:
        for family, place in places:
            try:
                sockets.append(_listen_tcp(family, place, port, share_port=share_port))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                failure = error
                continue
            port = int(sockets[0].getsockname()[1])
        if failure is not None and not sockets:
            raise failure
    except OSError:
        for one in sockets:
            one.close()
        raise
    return sockets, port


def _listen_tcp(
    family: socket.AddressFamily, place: str, port: int, *, share_port: bool
) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(place != "::"))
        one.bind((place, port))
        one.listen(BACKLOG)
        one.setblocking(False)
    except OSError:
        one.close()
        raise
    return one


def _listen_unix(path: str) -> socket.socket:
    if not path.startswith("\0"):
        _remove_stale(path)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        one.bind(path)
        one.listen(BACKLOG)
        one.setblocking(False)
    except OSError:
        one.close()
        raise
    return one


def _remove_stale(path: str) -> None:
    """Remove the socket of a server that has ended without removing it."""
    with suppress(OSError):
        if not Path(path).is_socket():
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()
