"""Floods of frames, over one connection after another."""

import itertools
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from support import abuse, frames
from support.frames import END_HEADERS, END_STREAM, frame, word
from support.http2 import framed

from bench.attacks.results import Result
from bench.attacks.run import Run, repeat, reporting
from bench.attacks.server import Server

__all__ = ["floods"]

ROW = "floods"
CONNECTIONS_PER_SECOND = 20.0
FRAMES = 2000
WAITING = 20
READ_BYTES = 1 << 16
MAX_BYTES = 1 << 20
Flood = Callable[[int], abuse.Frames]
ATTACKS: dict[str, Sequence[Flood]] = {
    "rapid reset": (
        abuse.rapid_reset,
        abuse.rapid_reset_of_whole_requests,
        abuse.rapid_reset_of_streams,
        abuse.rapid_reset_after_the_deadline,
    ),
    "made you reset: windows of 0, overflows, data after the end": (
        abuse.window_update_of_0,
        abuse.window_overflow,
        abuse.data_after_the_end,
        abuse.malformed_requests,
    ),
    "CONTINUATION": (abuse.continuations, abuse.empty_continuations),
    "PING": (abuse.pings,),
    "SETTINGS": (abuse.settings,),
    "PRIORITY and unknown frames": (abuse.priorities, abuse.unknown_frames),
    "empty DATA": (abuse.empty_data,),
    "HPACK references to a large header": (abuse.table_bomb,),
}
FEWER: dict[Flood, int] = {abuse.table_bomb: 20}


def floods(run: Run) -> Iterator[Result]:
    """Attack one server with every flood."""
    with run.serving() as server:
        with reporting(run, server, ROW) as report:
            for attack, kinds in ATTACKS.items():
                sent = [_encoded(kind(FEWER.get(kind, FRAMES))) for kind in kinds]
                report.attack(attack, partial(_flood, server, sent, run.seconds))
            report.attack(
                f"{WAITING} connections with a window of 0 and 200 requests each",
                partial(_wait, server, _encoded(_zero_windows()), run.seconds),
            )
            report.attack(
                f"{WAITING} connections that read none of their replies",
                partial(_wait, server, _encoded(_unread_replies()), run.seconds),
            )
        yield from report.results()


def _encoded(sent: abuse.Frames) -> bytes:
    return frames.PREFACE + frames.settings() + b"".join(sent)


def _zero_windows() -> abuse.Frames:
    yield frames.settings(_4=0)
    yield from (abuse.whole(stream) for stream in abuse.streams(200))


def _unread_replies() -> abuse.Frames:
    message = framed(abuse.REFLECTION_REQUEST)
    yield frames.settings(_4=2**31 - 1)
    yield frame(frames.WINDOW_UPDATE, 0, 0, word(2**30))
    for stream in abuse.streams(1000):
        yield abuse.head(abuse.REFLECTION, stream, END_HEADERS)
        yield frame(frames.DATA, END_STREAM, stream, message)


def _flood(server: Server, floods: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """Flood over some connections a second; each ends when the server ends it."""
    order, closed, cpu = itertools.cycle(floods), 0, server.cpu_seconds()
    began = time.monotonic()

    def flood() -> None:
        nonlocal closed
        closed += _send(server.port, next(order))

    count = repeat(flood, 2 * seconds, 1 / CONNECTIONS_PER_SECOND)
    used = (server.cpu_seconds() - cpu) / (time.monotonic() - began)
    return {"sent": count * FRAMES, "closed": closed, "cpu_per_second": used}


def _send(port: int, sent: bytes) -> bool:
    """Send frames and read a little; return whether the server closed the connection."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection:
            connection.sendall(sent)
            for _ in range(MAX_BYTES // READ_BYTES):
                if not connection.recv(READ_BYTES):
                    return True
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def _wait(server: Server, sent: bytes, seconds: float) -> dict[str, Any]:
    """Send requests over some connections, and read nothing."""
    began, cpu = time.monotonic(), server.cpu_seconds()
    with ExitStack() as stack:
        for _ in range(WAITING):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=0.2)
            stack.enter_context(connection)
            with suppress(OSError):
                connection.sendall(sent)
        time.sleep(2 * seconds)
    used = (server.cpu_seconds() - cpu) / (time.monotonic() - began)
    return {"sent": WAITING * 200, "cpu_per_second": used}
