"""Addresses of listeners, written HOST:PORT, or unix:PATH for AdminService."""

__all__ = ["is_loopback", "split_address", "unix_path"]


def split_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT; an IPv6 host keeps its brackets.

    Raises:
        ValueError: The address has another form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT, such as 127.0.0.1:8001")
    return host, int(port)


def unix_path(address: str) -> str | None:
    """Return the path of unix:PATH or unix:///ABSOLUTE_PATH; None for another form."""
    if not address.startswith("unix:"):
        return None
    path = address.removeprefix("unix:")
    return "/" + path.lstrip("/") if path.startswith("//") else path


def is_loopback(address: str) -> bool:
    """Report whether only this machine can reach HOST:PORT."""
    if address.startswith("unix:"):
        return True
    host, _ = split_address(address)
    return host in ("localhost", "[::1]") or host.startswith("127.")
