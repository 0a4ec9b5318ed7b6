"""A check, before anything is loaded, that the ports of the listeners are free."""

import errno
import socket
from collections.abc import Mapping
from itertools import combinations

from convscope.server.errors import StartError
from convscope.server.frontend.addresses import split_address

__all__ = ["check_ports"]

# How far from a port in use the suggested one is.
SUGGESTED_DISTANCE = 100
ANY_HOST = {"0.0.0.0", "::"}


def check_ports(addresses: Mapping[str, str]) -> None:
    """Check that no other process listens on the ports.

    The listeners find out only one after the other, and gRPC writes lines of its own then.

    Args:
        addresses: HOST:PORT by the flag that sets it.

    Raises:
        StartError: A port is in use, or two flags have the same.
    """
    _check_distinct(addresses)
    used = {flag: address for flag, address in addresses.items() if _is_in_use(address)}
    if not used:
        return
    ports = " and ".join(str(split_address(address)[1]) for address in used.values())
    others = " ".join(f"{flag} {_another(address)}" for flag, address in used.items())
    what, another = (
        (f"ports {ports} are", "other addresses")
        if len(used) > 1
        else (f"port {ports} is", "another address")
    )
    raise StartError(
        f"{what} in use, perhaps by another convscope-server; stop it, or choose {another}: "
        f"{others}"
    )


def _check_distinct(addresses: Mapping[str, str]) -> None:
    """Check that no two listeners have one port of one address.

    Raises:
        StartError: Two of them have.
    """
    for (flag, address), (other_flag, other) in combinations(addresses.items(), 2):
        port = split_address(address)[1]
        if port and port == split_address(other)[1] and _overlap(address, other):
            raise StartError(
                f"{flag} {address} and {other_flag} {other} have the same port; choose another: "
                f"{other_flag} {_another(other)}"
            )


def _overlap(address: str, other: str) -> bool:
    """Report whether listeners on one port of two hosts get in each other's way."""
    hosts, others = _numbers(address), _numbers(other)
    return bool(hosts & others) or bool((hosts | others) & ANY_HOST)


def _numbers(address: str) -> set[str]:
    """Return the IP addresses of a host; its name if it has none."""
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError:
        return {host}
    return {str(place[0]) for *_, place in found}


def _is_in_use(address: str) -> bool:
    """Report whether a port can't be bound for that reason; the listener reports all others."""
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, protocol, _, place in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # As the listeners do: connections of a server that ended don't count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(place)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
    return False


def _another(address: str) -> str:
    host, port = split_address(address)
    other = port + SUGGESTED_DISTANCE
    return f"{host}:{other if other <= 65535 else port - SUGGESTED_DISTANCE}"
