"""Decodes WebP in processes of their own, whose memory and time are limited.

A lossless image, and the alpha channel of a lossy one, have up to 65,536 groups of prefix
codes. libwebp takes 6 KB for each, so that a crafted image of 300 KB takes 360 MB. How many
groups an image has can't be found without decoding it.
"""

import fcntl
import mmap
import os
import signal
import socket
import subprocess
import sys
from threading import Lock

from convscope.server.errors import InvalidInputError, OverloadedError
from convscope.server.inference.decoding.webp.libwebp import OUT_OF_MEMORY, Layout
from convscope.server.inference.decoding.webp.messages import JOB, MAX_CPU_SECONDS, REPLY

__all__ = ["IsolatedDecoder"]

_TIMEOUT_SECONDS = 20.0  # on a busy machine, two seconds of CPU time can take longer
_MAX_IDLE = 2  # processes that wait for the next image
_FIXED_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_FIX = "save it as PNG or JPEG"


class IsolatedDecoder:
    """Starts processes as they are needed, and uses them for many images. Thread-safe.

    Args:
        extension: The path of a library that is linked with libwebp.
    """

    def __init__(self, extension: str) -> None:
        self._extension = extension
        self._idle: list[_Process] = []
        self._lock = Lock()

    def decode(self, encoded: memoryview, layout: Layout, most_bytes: int) -> tuple[int, mmap.mmap]:
        """Decode an image; return the status code, and the encoded image before its canvas.

        Args:
            encoded: The image.
            layout: Where it belongs on the canvas.
            most_bytes: The memory that libwebp may take.

        Raises:
            InvalidInputError: It takes more memory or time than an image of its size needs.
            OverloadedError: No process can be started, or it ended.
        """
        try:
            file, memory = _shared(encoded, layout.size_bytes)
        except (OSError, ValueError) as error:
            raise _overloaded() from error
        try:
            status = self._run(file, encoded.nbytes, most_bytes, layout)
        except _TimeLimitError as error:
            raise InvalidInputError(
                f"decoding the WEBP image takes more than {MAX_CPU_SECONDS} s; {_FIX}"
            ) from error
        except OSError as error:
            raise _overloaded() from error
        finally:
            os.close(file)
        if status == OUT_OF_MEMORY:
            raise InvalidInputError(
                f"decoding the WEBP image takes more than {most_bytes // 2**20} MiB beyond its "
                f"pixels; {_FIX}"
            )
        return status, memory

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.close()

    def _run(self, file: int, encoded_bytes: int, most_bytes: int, layout: Layout) -> int:
        """Decode an image in an idle process, or in a new one if that has ended meanwhile."""
        while True:
            process = self._take()
            is_new, process.is_new = process.is_new, False
            try:
                status = process.decode(file, encoded_bytes, most_bytes, layout)
            except _TimeLimitError:
                process.close()
                raise
            except OSError:
                process.close()
                if is_new:
                    raise
            else:
                self._put(process)
                return status

    def _take(self) -> "_Process":
        with self._lock:
            process = self._idle.pop() if self._idle else None
        return _Process(self._extension) if process is None else process

    def _put(self, process: "_Process") -> None:
        with self._lock:
            if len(self._idle) < _MAX_IDLE:
                self._idle.append(process)
                return
        process.close()


class _TimeLimitError(Exception):
    """An image takes more CPU time than it may."""


class _Process:
    """One process, which decodes one image at a time."""

    def __init__(self, extension: str) -> None:
        self.is_new = True
        self._socket, other = socket.socketpair()
        self._socket.settimeout(_TIMEOUT_SECONDS)
        module = "convscope.server.inference.decoding.webp.child"
        try:
            with other:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", module, str(other.fileno()), extension],
                    pass_fds=[other.fileno()],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # it would not be a line of the log
                    start_new_session=True,  # a Ctrl-C ends the server, which ends it
                )
        except BaseException:
            self._socket.close()
            raise

    def decode(self, file: int, encoded_bytes: int, most_bytes: int, layout: Layout) -> int:
        """Decode the image in a shared file to the space behind it; return the status code."""
        numbers = layout.width, layout.height, layout.left, layout.top
        job = JOB.pack(encoded_bytes, most_bytes, *numbers)
        socket.send_fds(self._socket, [job], [file])
        reply = self._socket.recv(REPLY.size)
        if not reply:
            self._process.kill()  # unless it has ended, which closed its socket
            if self._process.wait() == -signal.SIGXCPU:
                raise _TimeLimitError
            raise ConnectionError
        (status,) = REPLY.unpack(reply)
        return int(status)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _shared(encoded: memoryview, space: int) -> tuple[int, mmap.mmap]:
    """Return a file in memory with an encoded image and space behind it."""
    file = os.memfd_create("webp", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(file, encoded.nbytes + space)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _FIXED_SIZE)  # the process can't cut it off
        memory = mmap.mmap(file, encoded.nbytes + space)
        memory[: encoded.nbytes] = encoded
    except BaseException:
        os.close(file)
        raise
    return file, memory


def _overloaded() -> OverloadedError:
    return OverloadedError("the server has no process left to decode the image; retry later")
