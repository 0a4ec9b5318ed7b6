"""Unix sockets: a private directory for those between processes, and a check of an operator's."""

import os
import socket
import sys
import tempfile
from pathlib import Path

from convscope.server.errors import StartError
from convscope.server.frontend.addresses import unix_path

__all__ = ["check_unix_sockets", "private_directory"]

# The system's field for a path has one byte more, for the zero at its end.
MAX_PATH_BYTES = 103 if sys.platform == "darwin" else 107
# A slash and the name of a socket in a private directory.
MAX_NAME_BYTES = 8
PREFIX = "convscope-"
SHORT_PARENT = "/tmp"


def check_unix_sockets(admin_address: str | None, workers: int) -> None:
    """Check, before anything is loaded, that the Unix sockets of AdminService can be made.

    Args:
        admin_address: The address of its listener; None for no listener.
        workers: The number of processes. Each of several has a socket of its own.

    Raises:
        StartError: One of them can't be made.
    """
    if admin_address is None:
        return
    path = unix_path(admin_address)
    if path is not None:
        problem = _problem(path)
        if problem is not None:
            raise StartError(f"--admin-address {admin_address} can't be used: {problem}")
    if workers > 1:
        private_directory().rmdir()


def private_directory() -> Path:
    """Make a directory for Unix sockets that only this user can enter; the caller removes it.

    It is in the directory for temporary files, or in /tmp if the path of that is too long.

    Raises:
        StartError: Neither can be used.
    """
    limit, problems = MAX_PATH_BYTES - MAX_NAME_BYTES, []
    for parent in (None, SHORT_PARENT):
        try:
            directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError as error:
            problems.append(f"{parent}: {error.strerror}" if parent else str(error.strerror))
            continue
        size = len(os.fsencode(directory))
        if size <= limit:
            return directory
        directory.rmdir()
        problems.append(f"{directory.parent} has {len(os.fsencode(directory.parent))} bytes")
    longest = limit - len(PREFIX) - len("/") - len("12345678")
    raise StartError(
        f"there is no directory for Unix sockets: {'; '.join(problems)}. Set TMPDIR to a "
        f"directory that this user can write to and whose path has at most {longest} bytes"
    )


def _problem(path: str) -> str | None:
    """Return why a Unix socket can't be made at a path; None if it can."""
    size, folder = len(os.fsencode(path)), Path(path).parent
    if not path:
        return "it has no path; write unix:PATH"
    if size > MAX_PATH_BYTES:
        return (
            f"its path has {size} bytes, and that of a Unix socket has at most {MAX_PATH_BYTES}; "
            "choose a shorter one"
        )
    if not folder.is_dir():
        return f"{folder} is not a directory; create it, or choose another path"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"this user can't write to {folder}; choose another path"
    if not os.path.lexists(path):
        return None
    if not Path(path).is_socket():
        return "there is a file that is not a socket; remove it, or choose another path"
    if _is_in_use(path):
        return "it is in use, perhaps by another convscope-server; stop it, or choose another path"
    return None


def _is_in_use(path: str) -> bool:
    """Report whether something listens at a path, or may do so for another user."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # the queue of a process that hangs may be full
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False  # a server has ended without removing it
        except OSError:
            return True
    return True
