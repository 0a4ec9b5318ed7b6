"""One connection: an asyncio protocol around an engine of HTTP/2, and its receiving half."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any

import grpc
import structlog

from convscope.server.errors import ServingError
from convscope.server.frontend.access.control import AccessControl, Admission
from convscope.server.frontend.transport.calls import pushback
from convscope.server.frontend.transport.http2.ending import DRAIN_PING, Ending
from convscope.server.frontend.transport.http2.engine import (
    ConnectionClosed,
    DataReceived,
    EngineError,
    ErrorCode,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    SettingsReceived,
    StreamClosed,
    TrailersReceived,
)
from convscope.server.frontend.transport.http2.group_call import GroupCall, GroupMethod
from convscope.server.frontend.transport.http2.limits import PingLimit, TokenBucket
from convscope.server.frontend.transport.http2.output import OUTPUT_BYTES
from convscope.server.frontend.transport.http2.peer import ConnectionPeer
from convscope.server.frontend.transport.http2.rejected_call import RejectedCall
from convscope.server.frontend.transport.http2.rounds import (
    FIRST_INPUT_BYTES,
    INPUT_BYTES,
    SHARE_SECONDS,
)
from convscope.server.frontend.transport.http2.shared import Shared
from convscope.server.frontend.transport.http2.slices import Slicer
from convscope.server.frontend.transport.http2.stream import Stream
from convscope.server.frontend.transport.http2.task_call import TaskCall
from convscope.server.frontend.transport.http2.unread import UnreadReplies
from convscope.server.frontend.transport.unexpected import unexpected_error

__all__ = ["Connection"]

log = structlog.get_logger(__name__)

# Fewer bytes of an upload are acknowledged with those that follow.
MIN_ACKNOWLEDGED_BYTES = 128 * 1024
# A client that resets a stream this long before its deadline only knows it better than we do.
DEADLINE_MARGIN_SECONDS = 0.05
TOKENS_PER_ANSWER = 0.5
NOTHING = memoryview(b"")
# The time of less than this is estimated: a look at the processor's clock takes 0.5 µs.
UNTIMED_BYTES = 512
SECONDS_PER_BYTE = 0.1e-6
UNREAD_MESSAGE = "the client did not read the reply in time"


class Connection(Ending, asyncio.BufferedProtocol):
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
        super().__init__(shared)
        self.opened_at = self.received_at = self.active_at = self.progress_at = shared.loop.time()
        self.is_established = False  # whether the client has sent its preface
        self.end_at: float | None = None  # of its calls, after it has reached its age
        self.taken_before = 0
        self._slicer = Slicer()
        self._allowed = INPUT_BYTES  # what was to be read at most
        self._began = 0.0
        self._rest = NOTHING  # what was read and not processed
        self._unread = UnreadReplies(shared.limits.unread_seconds)
        self._opened = opened
        self._lost = lost
        self._pings = PingLimit(shared.limits.min_ping_seconds)
        self._cancels = TokenBucket(self.opened_at)
        self._settings = TokenBucket(self.opened_at)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the server's settings."""
        self._transport = transport
        self._peer = ConnectionPeer(transport)
        self._opened(self)
        if self._transport.is_closing():
            return
        self._transport.set_write_buffer_limits(high=OUTPUT_BYTES)
        if self._shared.secure and not self._peer.has_http2:
            self._transport.close()
            return
        self.mark_dirty()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes are written."""
        shared = self._shared
        if shared.rounds.may_read_all():
            self._allowed = INPUT_BYTES
            return shared.input
        self._allowed = FIRST_INPUT_BYTES
        return shared.input[:FIRST_INPUT_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """Process what was written there."""
        self._has_more = nbytes == self._allowed
        self._process(self._shared.input[:nbytes])

    def pause_reading(self) -> None:
        """Leave what arrives in the socket; see `Rounds`."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Process what was read before, then read again."""
        if self._transport.is_closing():
            return
        self._transport.resume_reading()
        rest = self._rest
        if rest:
            self._keep(NOTHING)
            self._process(rest)

    def _process(self, data: memoryview) -> None:
        """Process what the client sent, as far as this connection's share of the round suffices."""
        rounds = self._shared.rounds
        is_timed = len(data) > UNTIMED_BYTES
        self._began = rounds.clock() if is_timed else inf
        if not self._is_closed:
            self.received_at = self._shared.loop.time()
            try:
                self._receive(data)
            except Exception:  # noqa: BLE001 - an error ends this connection, not the others
                unexpected_error(log, peer=self.peer.peer)
                self.shut(ErrorCode.INTERNAL_ERROR)
        seconds = rounds.clock() - self._began if is_timed else len(data) * SECONDS_PER_BYTE
        rounds.received(self, seconds, self._has_more)

    def _keep(self, rest: memoryview) -> None:
        """Keep what was read and is to be processed in a later round."""
        self._shared.rounds.kept_bytes += len(rest) - len(self._rest)
        self._rest = rest

    def eof_received(self) -> None:
        """Close: a client that sends nothing more can't end its calls."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the calls."""
        self._keep(NOTHING)
        self._end_streams()
        self._lost(self)

    # Receiving

    def _receive(self, data: memoryview) -> None:
        engine, rounds = self._engine, self._shared.rounds
        failure: EngineError | None = None
        # By stream. Clients mix the frames of several uploads.
        chunks: dict[int, list[Any]] = {}
        while True:
            size = self._slicer.cut(data)
            is_last = size == len(data)
            try:
                engine.receive_data(data if is_last else data[:size])
            except EngineError as error:
                failure = error
            self._receive_events(engine.events(), chunks)
            if is_last or failure is not None or self._is_closed:
                break
            data = data[size:]
            if rounds.clock() - self._began >= SHARE_SECONDS:
                self._has_more = True  # there may be, as this connection doesn't read meanwhile
                self._keep(memoryview(bytes(data)))
                break
        if chunks:
            self._receive_all_chunks(chunks)
        if failure is not None:
            self._fail(failure)
        elif not self._is_dirty and engine.want_write:
            self.mark_dirty()

    def _receive_events(self, events: list[Any], chunks: dict[int, list[Any]]) -> None:
        event: Any
        for event in events:
            kind = type(event)
            if kind is DataReceived:
                if not event.end_stream:
                    chunks.setdefault(event.stream_id, []).append(event)
                elif event.stream_id in chunks:
                    self._receive_chunks([*chunks.pop(event.stream_id), event])
                else:
                    self._receive_data(event)
            elif kind is RequestReceived:
                self._begin(event)
            else:
                if chunks:
                    self._receive_all_chunks(chunks)
                if kind is StreamClosed:
                    self._close_stream(event)
                else:
                    self._receive_control(event)

    def _receive_all_chunks(self, chunks: dict[int, list[Any]]) -> None:
        while chunks:
            self._receive_chunks(chunks.pop(next(iter(chunks))))

    def _receive_chunks(self, events: list[Any]) -> None:
        """Process a part of an upload at once, unless a limit is near."""
        stream = self.streams.get(events[0].stream_id)
        chunks = [event.data for event in events]
        size = sum(map(len, chunks))
        budget = self.uploads.budget
        if (
            len(events) == 1
            or stream is None
            or stream.ended
            or stream.allowance is not None
            or budget.used + size > budget.limit
        ):
            for event in events:
                self._receive_data(event)
            return
        budget.used += size
        stream.held += size
        is_last = events[-1].end_stream
        self._count_unacknowledged(stream, size, is_last=is_last)
        stream.receive_all(chunks, size, is_last)

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
        allowance = stream.allowance
        if allowance is not None:
            allowance.used += size
            if allowance.used > allowance.limit and allowance.used != stream.held:
                stream.unacknowledged += size
                stream.reject_over_allowance()
                return
        if budget.used > budget.limit and budget.used > budget.limit_of(stream.expected(data)):
            self.uploads.starve(stream, size)
            if stream.ended:
                return
        else:
            self._count_unacknowledged(stream, size, is_last=event.end_stream)
        stream.receive(data, event.end_stream)

    def _count_unacknowledged(self, stream: Stream, size: int, *, is_last: bool) -> None:
        """Acknowledge what has arrived of a stream if it is enough for a frame."""
        size += stream.unacknowledged
        if is_last or (size >= MIN_ACKNOWLEDGED_BYTES and not stream.is_backlogged):
            self._engine.acknowledge_received_data(size, stream.id)
            size = 0
        stream.unacknowledged = size

    def _begin(self, event: Any) -> None:
        shared = self._shared
        stream_id = self._last_stream_id = event.stream_id
        if self.closing_at is not None or not shared.admits_call(len(self.streams)):
            shared.on_rejected("refused")
            self._reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        head = shared.heads.known.get(event.headers) or shared.heads(event.headers)
        if head.error is not None or head.http_error is not None:
            self._reject(stream_id, head, event.end_stream)
            return
        admission = None
        if shared.access is not None:
            admission = self._admit(stream_id, head, event.end_stream, shared.access)
            if admission is None:
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
        if admission is not None:
            stream.admission, stream.allowance = admission, admission.caller.in_flight
        self._add(stream)
        if deadline is not None:
            shared.deadlines.add(stream, deadline, self.received_at)
        if event.end_stream:
            stream.receive(b"", True)

    def _admit(
        self, stream_id: int, head: Any, received_all: bool, access: AccessControl
    ) -> Admission | None:
        """Return the admission of a call; a call that is denied ends, and None is returned."""
        path = head.method.path
        try:
            return access.admit(path, head.credential, self.peer)
        except ServingError as error:
            access.log_denial(path, error, self.peer)
            stream = RejectedCall(self, stream_id, head, None)
            stream.received_all = received_all
            stream.end()
            self._add(stream)
            self.send_status(stream, error.code, error.message, pushback(error))
            return None

    def _add(self, stream: Stream) -> None:
        self.streams[stream.id] = stream
        self._shared.calls += 1

    def _reject(self, stream_id: int, head: Any, received_all: bool) -> None:
        """Answer a request that is no call of a method."""
        stream = RejectedCall(self, stream_id, head, None)
        stream.received_all = received_all
        stream.end()
        self._add(stream)
        unknown = head.error is not None and head.error.code is grpc.StatusCode.UNIMPLEMENTED
        self.on_rejected("unimplemented" if unknown else "invalid")
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
        if self._waits_for_reader:
            self.mark_dirty()  # its reply may have been what was not read

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

    def watch_uploads(self) -> None:
        """Count unary calls whose request has not ended as uploads, which have to go on."""
        for stream in self.streams.values():
            if not (stream.received_all or stream.ended or stream.may_wait or stream.is_upload):
                self.uploads.arrived(stream, 0, 0)

    def end_unread(self, now: float) -> None:
        """End the calls whose reply the client has not read for too long, though it reads others.

        Args:
            now: The time.
        """
        if self._engine.queued_body_size():
            for stream in self._unread.overdue(self.streams.values(), self._queued_bytes, now):
                stream.abandon(grpc.StatusCode.RESOURCE_EXHAUSTED, UNREAD_MESSAGE)
                self._reset(stream.id, ErrorCode.ENHANCE_YOUR_CALM)
