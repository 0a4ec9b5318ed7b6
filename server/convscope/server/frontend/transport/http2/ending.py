"""How a connection ends: drained, closed because of its client, or given up."""

from contextlib import suppress

import grpc

from convscope.server.frontend.transport.http2.engine import (
    DenialOfServiceError,
    EngineError,
    ErrorCode,
    goaway_frame,
)
from convscope.server.frontend.transport.http2.output import Output
from convscope.server.frontend.transport.http2.shared import Shared

__all__ = ["DRAIN_PING", "Ending"]

# How long a connection that is being closed may take to send what is queued.
LINGER_SECONDS = 5.0
KEEPALIVE_PING = b"keepaliv"
DRAIN_PING = b"draining"
DRAIN_PING_SECONDS = 1.0


class Ending(Output):
    """The end of a connection, between its sending and its receiving half.

    Args:
        shared: What all connections share.
    """

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self.is_draining = False
        self.closing_at: float | None = None
        self.ping_sent_at: float | None = None
        self._last_stream_id = 0
        self._has_more = False  # whether bytes have arrived that are not read

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

    def end_idle_streams(self, code: grpc.StatusCode, details: str) -> None:
        """End the streams with nothing in progress; their client may begin others elsewhere."""
        for stream in list(self.streams.values()):
            if stream.is_idle:
                stream.abandon(code, details)

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
        if self._has_more and self._transport.can_write_eof():
            # The system would drop what was sent if it had to drop what has arrived.
            self._end_streams()
            self._transport.write_eof()
        else:
            self._transport.close()

    def _end_streams(self) -> None:
        """Cancel the calls, and send nothing more."""
        self._is_closed = True
        streams, self.streams = self.streams, {}
        self._shared.calls -= len(streams)
        self.ready.clear()
        for stream in streams.values():
            stream.closed()
        self._wake_writers()
