"""A client that uploads bodies within the windows of HTTP/2, whole ones or all but the end."""

import select
import socket
import time
from collections.abc import Sequence

from support import abuse, frames
from support.frames import END_HEADERS, END_STREAM, frame, word

from bench.attacks.run import CLASSIFY

__all__ = ["Upload", "body_frames"]

FRAME_BYTES = 16384
WINDOW = 65_535
FRAMES_PER_TURN = 32
READ_BYTES = 1 << 20
TIMEOUT_SECONDS = 2.0
WAIT_SECONDS = 0.1


def body_frames(message: bytes, flag: bytes = b"\0", size: int | None = None) -> list[bytes]:
    """Return the payloads of the DATA frames of a message.

    Args:
        message: Its bytes.
        flag: Whether they are compressed.
        size: The announced size, if it is not that of the message.
    """
    whole = flag + word(len(message) if size is None else size) + message
    return [whole[at : at + FRAME_BYTES] for at in range(0, len(whole), FRAME_BYTES)]


class Upload:
    """Calls over one connection.

    Args:
        port: The server's.
        parts: The payloads of the DATA frames of each call.
        calls: The number of calls.
        ends: Whether the calls end with the last payload.
        headers: Further headers.
    """

    def __init__(
        self,
        port: int,
        parts: Sequence[bytes],
        calls: int,
        *,
        ends: bool = True,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self._port, self._parts, self._ends = port, parts, ends
        self._sent = dict.fromkeys(abuse.streams(calls), 0)  # payloads, of open streams
        self._headers = headers
        self._windows = dict.fromkeys(self._sent, WINDOW)
        self._first_window, self._window = WINDOW, WINDOW
        self._received = bytearray()
        self._is_closed = False

    def run(self, seconds: float) -> None:
        """Upload until all calls are answered, the server closes, or the time is over."""
        end = time.monotonic() + seconds
        with socket.create_connection(("127.0.0.1", self._port), TIMEOUT_SECONDS) as connection:
            heads = [abuse.head(CLASSIFY, s, END_HEADERS, *self._headers) for s in self._sent]
            try:
                connection.sendall(frames.PREFACE + frames.settings() + b"".join(heads))
                while self._sent and not self._is_closed and time.monotonic() < end:
                    found = self._next()
                    connection.sendall(b"".join(found))
                    self._read(connection, 0.0 if found else WAIT_SECONDS)
            except OSError:  # the server closes, or reads no more
                time.sleep(max(0.0, end - time.monotonic()) if not self._ends else 0.0)

    def _next(self) -> list[bytes]:
        """Return some frames that the windows allow."""
        found: list[bytes] = []
        for stream, sent in self._sent.items():
            while sent < len(self._parts) and len(found) < 2 * FRAMES_PER_TURN:
                part = self._parts[sent]
                if len(part) > min(self._window, self._windows[stream]):
                    break
                sent += 1
                is_last = self._ends and sent == len(self._parts)
                found += [_head(part, stream, END_STREAM if is_last else 0), part]
                self._window -= len(part)
                self._windows[stream] -= len(part)
            self._sent[stream] = sent
        return found

    def _read(self, connection: socket.socket, seconds: float) -> None:
        is_ready, _, _ = select.select([connection], [], [], seconds)
        if not is_ready:
            return
        data = connection.recv(READ_BYTES)
        self._is_closed = not data
        self._received += data
        while len(self._received) >= frames.FRAME_HEADER_BYTES:
            size = frames.FRAME_HEADER_BYTES + int.from_bytes(self._received[:3], "big")
            if len(self._received) < size:
                return
            one = bytes(self._received[:size])
            del self._received[:size]
            self._take(connection, one[3], one[4], int.from_bytes(one[5:9], "big"), one[9:])

    def _take(
        self, connection: socket.socket, kind: int, flags: int, stream: int, payload: bytes
    ) -> None:
        if kind == frames.WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload, "big"))
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            for at in range(0, len(payload), 6):
                if int.from_bytes(payload[at : at + 2], "big") == 4:
                    self._resize(int.from_bytes(payload[at + 2 : at + 6], "big"))
            connection.sendall(frame(frames.SETTINGS, frames.ACK))
        elif kind == frames.PING and not flags & frames.ACK:
            connection.sendall(frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.RST_STREAM or (flags & END_STREAM and kind in (0, frames.HEADERS)):
            self._sent.pop(stream, None)

    def _widen(self, stream: int, size: int) -> None:
        if not stream:
            self._window += size
        elif stream in self._windows:
            self._windows[stream] += size

    def _resize(self, size: int) -> None:
        for stream in self._windows:
            self._windows[stream] += size - self._first_window
        self._first_window = size


def _head(part: bytes, stream: int, flags: int) -> bytes:
    return len(part).to_bytes(3, "big") + bytes([frames.DATA, flags]) + word(stream)
