"""A check, before anything is loaded, that the ports of the listeners are free."""

import errno
import socket
from collections.abc import Mapping

from convscope.server.errors import StartError
from convscope.server.frontend.addresses import split_address

__all__ = ["check_ports"]

# How far from a port in use the suggested one is.
SUGGESTED_DISTANCE = 100


def check_ports(addresses: Mapping[str, str]) -> None:
    """Check that no other process listens on the ports.

    The listeners find out only one after the other, and gRPC writes lines of its own then.

    Args:
        addresses: HOST:PORT by the flag that sets it.

    Raises:
        StartError: A port is in use.
    """
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
