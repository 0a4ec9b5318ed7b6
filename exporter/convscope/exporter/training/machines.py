"""Lets the processes of a run on several machines find each other.

PyTorch and Lightning read the variables that are set here. Nothing of PyTorch is imported, so
that a wrong option is an error at once.
"""

import os
import socket
import struct
import sys

from convscope.exporter.errors import RunError
from convscope.exporter.training.processes import is_under_torchrun

__all__ = ["join_machines"]

PORT = 29500  # PyTorch's own default
# Linux's request for the IPv4 address of a network interface.
SIOCGIFADDR = 0x8915


def join_machines(
    devices: int, nodes: int, node_rank: int | None, main_address: str | None
) -> tuple[int, int]:
    """Set the variables by which the processes of a run find process 0.

    Args:
        devices: The number of processes on this machine.
        nodes: The number of machines.
        node_rank: The number of this machine, from 0; NODE_RANK by default.
        main_address: HOST or HOST:PORT at which process 0 listens; MASTER_ADDR and MASTER_PORT
            by default.

    Returns:
        The number of processes on each machine and the number of machines. Under torchrun, they
        are torchrun's.

    Raises:
        RunError: The options don't fit together, or the host is unknown.
    """
    if is_under_torchrun():
        return _as_torchrun_says(devices, nodes, node_rank, main_address)
    if nodes == 1:
        if node_rank is not None or main_address is not None:
            raise RunError(
                "--node-rank and --main-address are for several machines; add --nodes with their "
                "number"
            )
        os.environ["NODE_RANK"] = "0"
        return devices, nodes
    rank, (host, port) = _rank(node_rank, nodes), _address(main_address)
    os.environ |= {"NODE_RANK": str(rank), "MASTER_ADDR": host, "MASTER_PORT": str(port)}
    _choose_interface(host, port)
    return devices, nodes


def _as_torchrun_says(
    devices: int, nodes: int, node_rank: int | None, main_address: str | None
) -> tuple[int, int]:
    if (devices, nodes, node_rank, main_address) != (1, 1, None, None):
        raise RunError(
            "torchrun decides on the processes; remove --devices, --nodes, --node-rank and "
            "--main-address, and use torchrun's own options"
        )
    devices = int(os.environ["LOCAL_WORLD_SIZE"])
    _choose_interface(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    return devices, int(os.environ["WORLD_SIZE"]) // devices


def _rank(option: int | None, nodes: int) -> int:
    text = os.environ.get("NODE_RANK", "") if option is None else str(option)
    if not text.isdecimal() or int(text) >= nodes:
        raise RunError(
            f"--nodes {nodes} needs the number of this machine, from 0 to {nodes - 1}, but "
            f"--node-rank is {text or 'missing'}; machine 0 publishes the model"
        )
    return int(text)


def _address(option: str | None) -> tuple[str, int]:
    text = option or os.environ.get("MASTER_ADDR", "")
    if not text:
        raise RunError(
            "several machines need the address of machine 0; pass it to each of them, such as "
            "--main-address 10.0.0.1"
        )
    host, _, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "")
    port = port or os.environ.get("MASTER_PORT", str(PORT))
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise RunError(f"--main-address {text} needs HOST or HOST:PORT with a port below 65536")
    try:
        socket.getaddrinfo(host, int(port))
    except OSError as error:
        raise RunError(
            f"--main-address {text}: the host {host!r} is unknown here ({error.strerror}); use "
            "the IP address of machine 0"
        ) from error
    return host, int(port)


def _choose_interface(host: str, port: int) -> None:
    """Let gloo use the network interface that leads to process 0.

    Left alone, gloo takes the address of the machine's own name, which on many machines is that
    of the loopback interface.
    """
    if (name := _interface_to(host, port)) is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def _interface_to(host: str, port: int) -> str | None:
    """Return the interface by which this machine reaches a host; None if it can't be found."""
    if sys.platform != "linux":
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))  # sends nothing
        except OSError:
            return None
        own = probe.getsockname()[0]
        names = [name for _, name in socket.if_nameindex()]
        return next((name for name in names if _ipv4(probe, name) == own), None)


def _ipv4(probe: socket.socket, interface: str) -> str | None:
    import fcntl  # only on Unix

    request = struct.pack("256s", interface.encode())
    try:
        return socket.inet_ntoa(fcntl.ioctl(probe, SIOCGIFADDR, request)[20:24])
    except OSError:  # it has none
        return None
