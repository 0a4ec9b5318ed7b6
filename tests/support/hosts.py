"""Two hosts: network namespaces of Linux, connected by a virtual cable."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.debian import find_program

__all__ = ["Host", "enter", "two_hosts"]

_CLONE_NEWNET = 0x40000000
_NAMESPACES = Path("/run/netns")
# Addresses for tests, by RFC 2544.
_ADDRESSES = ("198.18.77.1", "198.18.77.2")


@dataclass(frozen=True)
class Host:
    """A host.

    Args:
        address: Its IPv4 address.
        namespace: Its network namespace; None for this machine itself.
    """

    address: str
    namespace: Path | None = None


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Make two hosts for the duration of a with block.

    Without the right to create namespaces, and without Debian's package iproute2, both are this
    machine.
    """
    here = Host("127.0.0.1")
    names = [f"convscope-{os.getpid()}-{number}" for number in range(2)]
    program = _ip()
    if program is None:
        yield here, here
        return
    try:
        if _connect(program, names):
            first, second = (
                Host(address, _NAMESPACES / name)
                for address, name in zip(_ADDRESSES, names, strict=True)
            )
            yield first, second
        else:
            yield here, here
    finally:
        for name in names:
            subprocess.run([program, "netns", "delete", name], check=False, capture_output=True)


def enter(namespace: Path) -> None:
    """Move this thread, and those that it starts from now on, to a network namespace.

    Raises:
        OSError: The namespace doesn't exist, or this process may not enter it.
    """
    library = ctypes.CDLL(None, use_errno=True)
    with namespace.open() as file:
        if library.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"{namespace} can't be entered")


def _ip() -> Path | None:
    if os.geteuid() != 0:
        return None
    try:
        return find_program("ip", "iproute2")
    except pytest.skip.Exception:
        return None


def _connect(program: Path, names: list[str]) -> bool:
    """Create the namespaces, and a cable between them; return whether that succeeded."""
    first, second = names
    cable = ["link", "add", "eth0", "netns", first, "type", "veth"]
    commands = [["netns", "add", first], ["netns", "add", second]]
    commands.append([*cable, "peer", "name", "eth0", "netns", second])
    for name, address in zip(names, _ADDRESSES, strict=True):
        commands.append(["-n", name, "address", "add", f"{address}/24", "dev", "eth0"])
        commands += [["-n", name, "link", "set", device, "up"] for device in ("eth0", "lo")]
    return all(
        subprocess.run([program, *command], check=False, capture_output=True).returncode == 0
        for command in commands
    )
