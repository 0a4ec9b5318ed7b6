"""The forms of a target."""

from convscope.client.errors import InvalidInputError

__all__ = ["check_target", "has_several_addresses", "is_local"]

_SCHEMES = ("dns:///", "dns:", "ipv4:", "ipv6:", "passthrough:///")


def check_target(target: str) -> str:
    """Return the target if it is HOST:PORT or another form that gRPC accepts.

    Raises:
        InvalidInputError: It is a URL, or lacks a port, which gRPC would replace by 443.
    """
    if ("://" in target and target.startswith("http")) or ":" not in target:
        raise InvalidInputError(f"the target is {target!r}; give HOST:PORT, such as localhost:8001")
    return target


def is_local(target: str) -> bool:
    """Report whether the way to a target is within this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
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
