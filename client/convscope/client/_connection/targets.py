"""The forms of a target."""

import re
from typing import Any

from convscope.client.errors import InvalidInputError

__all__ = ["check_target", "has_several_addresses", "is_local"]

_SCHEMES = ("dns:///", "dns:", "ipv4:", "ipv6:", "passthrough:///")
_PATH_SCHEMES = ("unix:", "unix-abstract:")
# gRPC has resolvers of its own for these, with rules of their own.
_UNCHECKED = ("xds:", "vsock:", "google-c2p:")
_DNS_SERVER = re.compile(r"dns://[^/]+/")
_URL = re.compile(r"(\w+)://([^/]*)")
_MAX_PORT = 65535
_DEFAULT_PORT = 8001


def check_target(target: Any) -> str:
    """Return the target if it is HOST:PORT or another form that gRPC accepts.

    Raises:
        InvalidInputError: It is a URL, or lacks a port, which gRPC would replace by 443, or
            its port isn't a port.
    """
    if not isinstance(target, str):
        raise InvalidInputError(
            f"the target is {target!r}; give HOST:PORT as a str, such as 'localhost:8001'"
        )
    problem, example = _problem(target)
    if problem:
        raise InvalidInputError(
            f"the target is {target!r}; give HOST:PORT, such as {example} ({problem})"
        )
    return target


def _problem(target: str) -> tuple[str, str]:
    """Return what to change about a target, and an example of a better one; empty if nothing."""
    example = f"localhost:{_DEFAULT_PORT}"
    if not target.strip():
        return "it is empty", example
    if re.search(r"\s", target):
        return "without a space", re.sub(r"\s", "", target)
    if target.startswith(_UNCHECKED):
        return "", ""
    for scheme in _PATH_SCHEMES:
        if target.startswith(scheme):
            path = target.removeprefix(scheme)
            return ("", "") if path.strip("/") else ("the path of the socket is missing", example)
    target = _DNS_SERVER.sub("dns:///", target)
    address = _address(target)
    if url := _URL.match(address):
        return f"without {url[1]}://", _with_port(url[2]) if url[2] else example
    problems = (_address_problem(each) for each in address.split(","))
    return next((found for found in problems if found[0]), ("", ""))


def _address_problem(address: str) -> tuple[str, str]:
    if address.count(":") > 1 and not address.startswith("["):
        return "the brackets of an IPv6 address are missing", f"[::1]:{_DEFAULT_PORT}"
    host, _, port = address.rpartition(":")
    if not host and not port:
        return "the address is missing", f"localhost:{_DEFAULT_PORT}"
    if not host or address.endswith("]"):
        is_port_only = not host and port != address
        return (
            ("the host is missing", f"localhost:{port}")
            if is_port_only
            else ("the port is missing", _with_port(address))
        )
    if "/" in address:
        return "without a path", _with_port(address.partition("/")[0])
    if not port:
        return "the port is missing", _with_port(host)
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= _MAX_PORT):
        return (
            f"the port {port!r} is not a number from 1 to {_MAX_PORT}",
            f"{host}:{_DEFAULT_PORT}",
        )
    return "", ""


def _with_port(host: str) -> str:
    """Return an address with its own port, or else with the default one."""
    return host if re.search(r":\d+$", host) else f"{host.rstrip(':')}:{_DEFAULT_PORT}"


def is_local(target: str) -> bool:
    """Report whether the way to a target is within this machine."""
    if target.startswith(_PATH_SCHEMES):
        return True
    # Several addresses are separated by commas.
    return all(_is_loopback(each.rpartition(":")[0]) for each in _address(target).split(","))


def has_several_addresses(target: str) -> bool:
    """Report whether a target may stand for several servers: addresses, or another host's name.

    A name such as localhost has an address for IPv4 and one for IPv6, both of one server.
    """
    return "," in _address(target) or not is_local(target)


def _address(target: str) -> str:
    for scheme in _SCHEMES:
        target = target.removeprefix(scheme)
    return target


def _is_loopback(host: str) -> bool:
    numbers = host.split(".")
    is_ipv4 = len(numbers) == 4 and all(number.isdecimal() for number in numbers)
    return host in ("localhost", "[::1]") or (is_ipv4 and numbers[0] == "127")
