"""One connection: an asyncio protocol around an engine of HTTP/2."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import grpc
import structlog

from convscope.server.frontend.transport.calls import Metadata
from convscope.server.frontend.transport.http2.engine import (
    ConnectionClosed,
    DataReceived,
    DenialOfServiceError,
    EngineError,
    ErrorCode,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    SettingsReceived,
    StreamClosed,
    TrailersReceived,
    goaway_frame,
)
from convscope.server.frontend.transport.http2.group_call import GroupCall, GroupMethod
from convscope.server.frontend.transport.http2.limits import PingLimit, TokenBucket
from convscope.server.frontend.transport.http2.peer import ConnectionPeer
from convscope.server.frontend.transport.http2.shared import Shared
from convscope.server.frontend.transport.http2.stream import Stream
from convscope.server.frontend.transport.http2.task_call import TaskCall
from convscope.server.frontend.transport.http2.wire import (
    OK_TRAILERS,
    RESPONSE_HEADERS,
    encode_metadata,
    message_prefix,
    trailers,
)
from convscope.server.frontend.transport.unexpected import unexpected_error

__all__ = ["Connection"]

log = structlog.get_logger(__name__)

# Bytes that are written to the socket's transport at once.
OUTPUT_BYTES = 256 * 1024
# Fewer bytes of an upload are acknowledged with those that follow.
MIN_ACKNOWLEDGED_BYTES = 128 * 1024
# Smaller messages are copied behind their prefix, which makes one chunk of them.
MAX_COPIED_BYTES = 16 * 1024
# Replies of this size count against the budget until they are sent.
LARGE_REPLY_BYTES = 64 * 1024
# How long a connection that is being closed may take to send what is queued.
LINGER_SECONDS = 5.0
# A client that resets a stream this long before its deadline only knows it better than we do.
DEADLINE_MARGIN_SECONDS = 0.05
TOKENS_PER_ANSWER = 0.5
KEEPALIVE_PING = b"keepaliv"
DRAIN_PING = b"draining"
DRAIN_PING_SECONDS = 1.0


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        shared: What all connections share.
        opened: Called when the connection is made, after TLS's handshake.
        lost: Called when it is gone.
    """

    def __init__(
        self,
        shared: Shared,
        opened: Callable[["Connection"], None],
        lost: Callable[["Connection"], None],
    ) -> None:
        self.limits = shared.limits
        self.uploads = shared.uploads
        self.ready: deque[GroupCall] = deque()
        self.streams: dict[int, Stream] = {}
        self.opened_at = self.received_at = self.active_at = self.progress_at = shared.loop.time()
        self.is_established = False  # whether the client has sent its preface
        self.is_draining = False
        self.closing_at: float | None = None
        self.ping_sent_at: float | None = None
        self.unread_before = 0
        self._shared = shared
        self._opened = opened
        self._lost = lost
        self._engine = shared.new_engine()
        self._transport: Any = None
        self._peer: ConnectionPeer | None = None
        self._is_closed = False
        self._is_paused = False
        self._is_dirty = False
        self._waits_for_reader = False
        self._last_stream_id = 0
        self._ending_early: list[int] = []
        self._flush_waiters: list[asyncio.Future[None]] = []
        self._answers = 0  # calls that were answered since the last cancelled one
        self._has_replied = False  # whether something was sent since the last ping
        self._pings = PingLimit(shared.limits.min_ping_seconds)
        self._cancels = TokenBucket(self.opened_at)
        self._settings = TokenBucket(self.opened_at)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the server's settings."""
        self._transport = transport
        self._opened(self)
        self._transport.set_write_buffer_limits(high=OUTPUT_BYTES)
        self._peer = ConnectionPeer(transport)
        if self._shared.secure and not self._peer.has_http2:
            self._transport.close()
            return
        self.mark_dirty()

    def data_received(self, data: bytes) -> None:
        """Process what the client sent."""
        if self._is_closed:
            return
        self.received_at = self._shared.loop.time()
        try:
            self._receive(data)
        except Exception:  # noqa: BLE001 - an error ends this connection, not the others
            unexpected_error(log, peer=self.peer.peer)
            self.shut(ErrorCode.INTERNAL_ERROR)

    def eof_received(self) -> None:
        """Close: a client that sends nothing more can't end its calls."""

    def pause_writing(self) -> None:
        """Keep the output in the engine."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Go on sending."""
        self._is_paused = False
        self.mark_dirty()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the calls."""
        self._is_closed = True
        streams, self.streams = self.streams, {}
        self._shared.calls -= len(streams)
        self.ready.clear()
        for stream in streams.values():
            stream.closed()
        self._wake_writers()
        self._lost(self)

    # Receiving

    def _receive(self, data: bytes) -> None:
        engine = self._engine
        failure: EngineError | None = None
        try:
            engine.receive_data(data)
        except EngineError as error:
            failure = error
        for event in engine.events():
            kind = type(event)
            if kind is DataReceived:
                self._receive_data(event)
            elif kind is RequestReceived:
                self._begin(event)
            elif kind is StreamClosed:
                self._close_stream(event)
            else:
                self._receive_control(event)
        if failure is not None:
            self._fail(failure)
        elif not self._is_dirty and engine.want_write:
            self.mark_dirty()

    def _receive_data(self, event: Any) -> None:
        data, stream_id = event.data, event.stream_id
        size = len(data)
        stream = self.streams.get(stream_id)
        if stream is None or stream.ended:
            self.acknowledge(size, stream_id)
            return
        budget = self.uploads.budget
        budget.used += size
        stream.held += size
        if budget.used > budget.limit:
            self.uploads.starve(stream, size)
            if stream.ended:
                return
        else:
            unacknowledged = stream.unacknowledged + size
            if event.end_stream or (
                unacknowledged >= MIN_ACKNOWLEDGED_BYTES and not stream.is_backlogged
            ):
                self._engine.acknowledge_received_data(unacknowledged, stream_id)
                unacknowledged = 0
            stream.unacknowledged = unacknowledged
        stream.receive(data, event.end_stream)

    def _begin(self, event: Any) -> None:
        shared = self._shared
        stream_id = self._last_stream_id = event.stream_id
        if shared.calls >= self.limits.max_calls or self.closing_at is not None:
            self._reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        head = shared.heads.known.get(event.headers) or shared.heads(event.headers)
        if head.error is not None or head.http_error is not None:
            self._reject(stream_id, head, event.end_stream)
            return
        deadline: float | None = None
        if head.timeout is not None:
            deadline = self.received_at + head.timeout
        stream: Stream
        if type(head.method) is GroupMethod:
            stream = GroupCall(self, stream_id, head, deadline, self._complete)
        else:
            stream = TaskCall(
                self, stream_id, head, deadline, self.peer, self._queued_bytes, self._flushed
            )
        self._add(stream)
        if deadline is not None:
            shared.deadlines.add(stream, deadline, self.received_at)
        if event.end_stream:
            stream.receive(b"", True)

    def _add(self, stream: Stream) -> None:
        self.streams[stream.id] = stream
        self._shared.calls += 1

    def _reject(self, stream_id: int, head: Any, received_all: bool) -> None:
        """Answer a request that is no call of a method."""
        stream = Stream(self, stream_id, head, None)
        stream.received_all = received_all
        stream.end()
        self._add(stream)
        if head.http_error is not None:
            self._send(stream, ((b":status", head.http_error),))
        else:
            error = head.error
            self.send_status(stream, error.code, error.details, (), error.headers)

    def _complete(self, call: GroupCall) -> None:
        if not self.ready and not self._waits_for_reader:
            self._shared.turns.add_ready(self)
        self.ready.append(call)

    def _close_stream(self, event: Any) -> None:
        stream = self.streams.pop(event.stream_id, None)
        if stream is None:
            return
        self._shared.calls -= 1
        self.active_at = self.received_at
        if not stream.ended:
            self._count_cancelled(stream)
        stream.closed()

    def _count_cancelled(self, stream: Stream) -> None:
        now = self.received_at
        if stream.deadline is not None and stream.deadline - now < DEADLINE_MARGIN_SECONDS:
            return
        answers, self._answers = self._answers, 0
        # A client that cancels a part of its calls, such as the slower of two, is no attacker.
        if self._cancels.is_exceeded(now, answers * TOKENS_PER_ANSWER):
            self.shut(ErrorCode.ENHANCE_YOUR_CALM, b"too_many_cancels")

    def _receive_control(self, event: Any) -> None:
        kind = type(event)
        if kind is SettingsReceived:
            self.is_established = True
            if self._settings.is_exceeded(self.received_at):
                self.shut(ErrorCode.ENHANCE_YOUR_CALM, b"too_many_settings")
        elif kind is TrailersReceived:
            stream = self.streams.get(event.stream_id)
            if stream is not None and not stream.ended:
                stream.receive(b"", True)
        elif kind is PingReceived:
            if self._has_replied:
                self._has_replied = False
                self._pings.replied()
            if self._pings.exceeded_by_ping(self.received_at):
                self.shut(ErrorCode.ENHANCE_YOUR_CALM, b"too_many_pings")
        elif kind is PingAcknowledged:
            self.ping_sent_at = None
            if event.opaque_data == DRAIN_PING:
                self._finish_drain()
        elif kind is ConnectionClosed:
            self._close_after_output()

    # Sending; see `Link`

    def acknowledge(self, size: int, stream_id: int) -> None:
        """Let the client send as many bytes as were consumed."""
        if size and not self._is_closed:
            try:
                self._engine.acknowledge_received_data(size, stream_id)
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

    # The end

    @property
    def peer(self) -> ConnectionPeer:
        """The other end."""
        if self._peer is None:
            raise RuntimeError("the connection is not made")
        return self._peer

    def ping(self) -> None:
        """Ask whether the client is still there."""
        self.ping_sent_at = self._shared.loop.time()
        self._engine.ping(KEEPALIVE_PING)
        self.mark_dirty()

    def drain(self) -> None:
        """Announce the end: the client opens no more streams, and those on the way are served."""
        if self.is_draining or self._is_closed:
            return
        self.is_draining = True
        try:
            self._engine.send_shutdown_notice()
            self._engine.ping(DRAIN_PING)
        except EngineError:
            return  # it is ending already
        self._shared.loop.call_later(DRAIN_PING_SECONDS, self._finish_drain)
        self.mark_dirty()

    def _finish_drain(self) -> None:
        """Name the last stream that is served; the connection ends with the last of them."""
        if self.closing_at is None and not self._is_closed:
            self._go_away(ErrorCode.NO_ERROR, b"")

    def shut(self, code: int, reason: bytes = b"") -> None:
        """End the connection because of its client; calls in flight get a moment to end."""
        if self.closing_at is None and not self._is_closed:
            self.closing_at = self._shared.loop.time() + LINGER_SECONDS
            self._go_away(code, reason)

    def give_way(self) -> None:
        """End an idle connection in favor of a new one; the client may connect again."""
        self.closing_at = self._shared.loop.time() + LINGER_SECONDS
        self._go_away(ErrorCode.NO_ERROR, b"")

    def _go_away(self, code: int, reason: bytes) -> None:
        with suppress(EngineError):  # it has ended already
            self._engine.send_goaway(code, debug_data=reason)
        self.mark_dirty()

    def end_calls(self, code: grpc.StatusCode, details: str) -> None:
        """End all calls with a status, and the connection after it."""
        self.closing_at = self._shared.loop.time() + LINGER_SECONDS
        for stream in list(self.streams.values()):
            stream.abandon(code, details)
        self._go_away(ErrorCode.NO_ERROR, b"")

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def _fail(self, error: EngineError) -> None:
        """Say goodbye for an engine that can't."""
        flood = isinstance(error, DenialOfServiceError)
        code = ErrorCode.ENHANCE_YOUR_CALM if flood else ErrorCode.PROTOCOL_ERROR
        self._transport.write(goaway_frame(self._last_stream_id, code))
        self._close_after_output()

    def _close_after_output(self) -> None:
        if self.closing_at is None:
            self.closing_at = self._shared.loop.time() + LINGER_SECONDS
        self._transport.close()
