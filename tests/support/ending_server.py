"""A server of raw frames that ends the first calls of its clients in a chosen way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ngh2 import Configuration, Connection, ErrorCode, Role, events

from support.http2 import framed, until

RESPONSE = ((b":status", b"200"), (b"content-type", b"application/grpc"))


class EndingServer:
    """Ends calls in a chosen way, then answers all others.

    Args:
        reply: The serialized reply.
        end: Ends the calls of one connection.
        calls: How many calls arrive before they are ended; those of one connection.
    """

    def __init__(self, reply: bytes, end: "End", calls: int = 1) -> None:
        self._reply = reply
        self._end = end
        self._calls = calls
        self.has_ended = False
        self.attempts = 0
        self.sessions: set[Session] = set()

    def received(self, session: "Session") -> None:
        """Called when a request is complete."""
        self.attempts += 1
        if self.has_ended:
            session.reply(session.requests.pop(), self._reply)
        elif len(session.requests) == self._calls:
            self.has_ended = True
            self._end(session)


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: EndingServer) -> None:
        self._server = server
        self.engine = Connection(Role.SERVER, Configuration())
        self.engine.initiate_connection({})
        self.requests: list[int] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._server.sessions.add(self)
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.sessions.discard(self)

    def data_received(self, data: bytes) -> None:
        self.engine.receive_data(data)
        for event in self.engine.events():
            if isinstance(event, events.DataReceived) and event.end_stream:
                self.requests.append(event.stream_id)
                self._server.received(self)
        self.send()

    def reply(self, stream: int, message: bytes) -> None:
        """Send a complete response."""
        self.engine.send_response(stream, RESPONSE)
        self.engine.send_data(stream, framed(message))
        self.engine.send_trailers(stream, ((b"grpc-status", b"0"),))

    def send(self) -> None:
        """Send what is queued."""
        if not self.transport.is_closing():
            self.transport.write(self.engine.data_to_send())


End = Callable[[Session], None]


def reset(code: ErrorCode) -> End:
    """Return what resets the streams."""

    def end(session: Session) -> None:
        for stream in session.requests:
            session.engine.reset_stream(stream, code)

    return end


def goaway(code: ErrorCode, *, processed: bool) -> End:
    """Return what ends the connection with a GOAWAY frame.

    Args:
        code: The code of the frame.
        processed: Whether the last stream of the frame is that of the calls, or a lower one.
    """

    def end(session: Session) -> None:
        last = max(session.requests) if processed else 0
        session.engine.send_goaway(code, last_stream_id=last, debug_data=b"too_many_cancels")
        session.send()
        session.transport.close()

    return end


def cut(session: Session) -> None:
    """Close the connection without a frame."""
    session.transport.abort()


@asynccontextmanager
async def serving(server: EndingServer) -> AsyncIterator[str]:
    """Serve for the duration of a with block; return the target."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Session(server), "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for session in server.sessions:
            session.transport.abort()
        await until(lambda: not server.sessions)
