"""The sending half of a connection: responses, acknowledgements and flow control."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any

import grpc
import structlog

from convscope.server.frontend.transport.calls import Metadata
from convscope.server.frontend.transport.http2.engine import (
    STREAM_WINDOW_BYTES,
    ConnectionClosed,
    EngineError,
    ErrorCode,
    StreamClosed,
)
from convscope.server.frontend.transport.http2.group_call import GroupCall
from convscope.server.frontend.transport.http2.peer import ConnectionPeer
from convscope.server.frontend.transport.http2.shared import Shared
from convscope.server.frontend.transport.http2.stream import Stream
from convscope.server.frontend.transport.http2.wire import (
    OK_TRAILERS,
    RESPONSE_HEADERS,
    encode_metadata,
    message_prefix,
    trailers,
)
from convscope.server.frontend.transport.unexpected import unexpected_error

__all__ = ["OUTPUT_BYTES", "Output"]

log = structlog.get_logger(__name__)

# Bytes that are written to the socket's transport at once.
OUTPUT_BYTES = 256 * 1024
# Smaller messages are copied behind their prefix, which makes one chunk of them.
MAX_COPIED_BYTES = 16 * 1024
# Replies of this size count against the budget until they are sent.
LARGE_REPLY_BYTES = 64 * 1024


class Output(ABC):
    """What streams and turns use of a connection; a `Link` and a `TurnConnection`.

    Args:
        shared: What all connections share.
    """

    def __init__(self, shared: Shared) -> None:
        self.limits = shared.limits
        self.uploads = shared.uploads
        self.inflater = shared.inflater
        self.on_rejected = shared.on_rejected
        self.ready: deque[GroupCall] = deque()
        self.streams: dict[int, Stream] = {}
        self._shared = shared
        self._engine = shared.new_engine()
        self._transport: Any = None
        self._peer: ConnectionPeer | None = None
        self._is_closed = False
        self._is_paused = False
        self._is_dirty = False
        self._waits_for_reader = False
        self._ending_early: list[int] = []
        self._flush_waiters: list[asyncio.Future[None]] = []
        self._queued = 0  # bytes of replies since the connection was made
        self._answers = 0  # calls that were answered since the last cancelled one
        self._has_replied = False  # whether something was sent since the last ping

    @property
    def peer(self) -> ConnectionPeer:
        """The other end."""
        if self._peer is None:
            raise RuntimeError("the connection is not made")
        return self._peer

    # What the receiving half adds

    @abstractmethod
    def _close_stream(self, event: Any) -> None:
        """Called when the engine has closed a stream."""

    @abstractmethod
    def _fail(self, error: EngineError) -> None:
        """Called when the engine can't go on."""

    @abstractmethod
    def _close_after_output(self) -> None:
        """Close the connection when what is queued is sent."""

    # What asyncio calls

    def pause_writing(self) -> None:
        """Keep the output in the engine."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Go on sending."""
        self._is_paused = False
        self.mark_dirty()

    # Sending; see `Link`

    def acknowledge(self, size: int, stream_id: int) -> None:
        """Let the client send as many bytes as were consumed."""
        if size and not self._is_closed:
            try:
                self._engine.acknowledge_received_data(size, stream_id)
            except EngineError:
                return  # the stream or the connection is gone
            self.mark_dirty()

    def widen_window(self, stream_id: int) -> None:
        """Let the client send more of a message ahead."""
        try:
            self._engine.set_local_window_size(STREAM_WINDOW_BYTES, stream_id=stream_id)
        except EngineError:
            return  # the stream or the connection is gone
        self.mark_dirty()

    def send_headers(self, stream_id: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the initial metadata of a response."""
        try:
            self._engine.send_response(stream_id, headers)
        except EngineError:
            return
        self._replied()

    def send_message(self, stream: Stream, message: bytes) -> None:
        """Send a message of a response."""
        try:
            self._queue_message(stream.id, message)
        except EngineError:
            return
        self._replied()

    def send_reply(self, stream: Stream, message: bytes, trailing: Metadata) -> None:
        """Send a whole response, with OK."""
        if len(message) >= LARGE_REPLY_BYTES and not self._hold_reply(stream, len(message)):
            return
        engine, stream_id = self._engine, stream.id
        try:
            engine.send_response(stream_id, RESPONSE_HEADERS)
            if len(message) < MAX_COPIED_BYTES:
                engine.send_data(stream_id, message_prefix(len(message)) + message)
            else:
                engine.send_data(stream_id, message_prefix(len(message)))
                engine.send_data(stream_id, message)
            engine.send_trailers(
                stream_id, (*OK_TRAILERS, *self._encoded(trailing)) if trailing else OK_TRAILERS
            )
        except EngineError:
            return  # the stream or the connection is gone
        self._queued += len(message)
        self._ended(stream)

    def send_status(
        self,
        stream: Stream,
        code: grpc.StatusCode,
        details: str,
        trailing: Metadata = (),
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Send the status of a call, which ends it."""
        end = (*trailers(code, details), *headers, *self._encoded(trailing))
        if not stream.has_sent_headers:
            self._send(stream, (*RESPONSE_HEADERS, *end))
            return
        try:
            self._engine.send_trailers(stream.id, end)
        except EngineError:
            return
        self._ended(stream)

    def _send(self, stream: Stream, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send a response that has headers only."""
        try:
            self._engine.send_response(stream.id, headers, end_stream=True)
        except EngineError:
            return
        self._ended(stream)

    def _queue_message(self, stream_id: int, message: bytes) -> None:
        prefix = message_prefix(len(message))
        if len(message) < MAX_COPIED_BYTES:
            self._engine.send_data(stream_id, prefix + message)
        else:
            self._engine.send_data(stream_id, prefix)
            self._engine.send_data(stream_id, message)
        self._queued += len(message)

    def _hold_reply(self, stream: Stream, size: int) -> bool:
        """Count a large reply; reject it if its client doesn't read and memory is short."""
        budget = self.uploads.budget
        if not budget.admits(size) and self.unread_bytes() > self.limits.max_unread_bytes:
            message = "the replies before were not read, and the server's memory is in use"
            self.send_status(stream, grpc.StatusCode.RESOURCE_EXHAUSTED, message)
            return False
        budget.take(size)
        stream.reply_bytes = size
        return True

    def _encoded(self, metadata: Metadata) -> Sequence[tuple[bytes, bytes]]:
        try:
            return encode_metadata(metadata)
        except ValueError:
            unexpected_error(log, peer=self.peer.peer)
            return ()

    def _ended(self, stream: Stream) -> None:
        """Called when the end of a response is queued."""
        self._answers += 1
        self._has_replied = True
        if not stream.received_all:
            self._ending_early.append(stream.id)
        if not self._is_dirty:
            self.mark_dirty()

    def _replied(self) -> None:
        self._has_replied = True
        if not self._is_dirty:
            self.mark_dirty()

    def _reset(self, stream_id: int, code: int) -> None:
        try:
            self._engine.reset_stream(stream_id, code)
        except EngineError:
            return
        self.mark_dirty()

    # Turns; see `Turns`

    def mark_dirty(self) -> None:
        """Flush at the end of the turn."""
        if not self._is_dirty and not self._is_closed:
            self._is_dirty = True
            self._shared.turns.add_dirty(self)

    def may_begin_calls(self) -> bool:
        """Return whether the client reads its replies."""
        if self._is_closed:
            return False
        self._waits_for_reader = self.unread_bytes() > self.limits.max_unread_bytes
        return not self._waits_for_reader

    def flush(self) -> None:
        """Send what is queued."""
        self._is_dirty = False
        if self._is_closed:
            return
        try:
            self._flush()
        except Exception:  # noqa: BLE001 - an error ends this connection, not the others
            unexpected_error(log, peer=self.peer.peer)
            self._transport.abort()

    def _flush(self) -> None:
        self._write()
        if self._ending_early and not self._is_paused:
            self._end_early()
            self._write()
        if self._flush_waiters:
            self._wake_writers()
        if self._waits_for_reader and self.may_begin_calls() and self.ready:
            self._shared.turns.add_ready(self)

    def _write(self) -> None:
        engine, transport = self._engine, self._transport
        while not self._is_paused:
            try:
                data = engine.data_to_send(OUTPUT_BYTES)
            except EngineError as error:
                self._fail(error)
                return
            if data:
                transport.write(data)
            for event in engine.events():
                kind = type(event)
                if kind is StreamClosed:
                    self._close_stream(event)
                elif kind is ConnectionClosed:
                    self._close_after_output()
                    return
            if len(data) < OUTPUT_BYTES:
                return

    def _end_early(self) -> None:
        """Stop the uploads of calls whose response is sent; a reset before would replace it."""
        ids, self._ending_early = self._ending_early, []
        for stream_id in ids:
            if stream_id not in self.streams:
                continue
            if self._engine.queued_body_size(stream_id):
                self._ending_early.append(stream_id)
            else:
                self._reset(stream_id, ErrorCode.NO_ERROR)

    # Streams that wait for the client to read

    def unread_bytes(self) -> int:
        """Return the bytes of replies that the client has not taken."""
        size: int = self._transport.get_write_buffer_size()
        return size + self._engine.queued_body_size()

    def taken_bytes(self, unread: int) -> int:
        """Return the bytes of replies that the client has taken, or cancelled, so far.

        Args:
            unread: The bytes that it has not taken.
        """
        return self._queued - unread

    def _queued_bytes(self, stream_id: int) -> int:
        return 0 if self._is_closed else self._engine.queued_body_size(stream_id)

    def _flushed(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = self._shared.loop.create_future()
        self._flush_waiters.append(waiter)
        return waiter

    def _wake_writers(self) -> None:
        waiters, self._flush_waiters = self._flush_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
