"""A process that only decodes WebP, with limits on its memory and time.

It receives a file that is shared with the server for each image: the encoded image, and
space for the canvas. It exits when the server does.
"""

import ctypes
import math
import mmap
import os
import resource
import socket
import sys
import time
from pathlib import Path

from convscope.server.inference.decoding.webp.libwebp import Layout, decode_into, open_library
from convscope.server.inference.decoding.webp.messages import JOB, MAX_CPU_SECONDS, REPLY

__all__ = ["main"]


def main() -> None:
    """Decode one image after another.

    The arguments are the number of the socket to the server, and the path of a library that
    is linked with libwebp.
    """
    library = open_library(sys.argv[2])
    with socket.socket(fileno=int(sys.argv[1])) as server:
        while True:
            message, files, _, _ = socket.recv_fds(server, JOB.size, 1)
            if not files:
                return
            status = _decode(library, files[0], *JOB.unpack(message))
            server.sendall(REPLY.pack(status))


def _decode(
    library: ctypes.CDLL, file: int, encoded_bytes: int, most_bytes: int, *numbers: int
) -> int:
    layout = Layout(*numbers)
    shared_bytes = encoded_bytes + layout.size_bytes
    _set_limits(shared_bytes + most_bytes)
    with mmap.mmap(file, shared_bytes) as shared:
        os.close(file)
        base = ctypes.c_char.from_buffer(shared)
        address = ctypes.addressof(base)
        try:
            return decode_into(library, address, encoded_bytes, address + encoded_bytes, layout)
        finally:
            del base  # or the file could not be unmapped


def _set_limits(most_bytes: int) -> None:
    """Limit what the process can allocate from now on, and the CPU time of one image."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _set_limit(resource.RLIMIT_AS, pages * mmap.PAGESIZE + most_bytes)
    _set_limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + MAX_CPU_SECONDS)


def _set_limit(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit if hard < 0 else min(limit, hard), hard))


if __name__ == "__main__":
    main()
