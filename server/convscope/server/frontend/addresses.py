"""Addresses of listeners, written HOST:PORT."""

__all__ = ["is_loopback", "split_address"]


def split_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT; an IPv6 host keeps its brackets.

    Raises:
        ValueError: The address has another form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT, such as 127.0.0.1:8001")
    return host, int(port)


def is_loopback(address: str) -> bool:
    """Report whether only this machine can reach HOST:PORT."""
    if address.startswith("unix:"):
        return True
    host, _ = split_address(address)
    return host in ("localhost", "[::1]") or host.startswith("127.")
