"""The limits of connections, and the counters that enforce those over time."""

import math
from dataclasses import dataclass

__all__ = ["Limits", "PingLimit", "TokenBucket"]

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one listener.

    Args:
        max_message_bytes: Bytes of one received message, also when it is inflated.
        max_metadata_bytes: Bytes of a call's metadata, counted as HTTP/2 does.
        max_streams: Calls of one connection at once.
        max_calls: Calls of all connections at once, above which each has an equal share.
        max_connections: Connections at once.
        calls_per_turn: Calls that are handed over in one iteration of the event loop; fewer if
            their messages are larger than 16 KiB.
        handshake_seconds: How long TLS and the client's preface may take.
        idle_seconds: After how long without a call a connection is closed.
        age_seconds: After how long a connection gets no more calls.
        age_grace_seconds: How long the calls of such a connection may go on.
        ping_seconds: After how long without a byte from the client the server pings it.
        ping_timeout_seconds: How long the client may take to answer.
        min_ping_seconds: The shortest time between two pings of a client.
        stalled_seconds: After how long without progress a client that doesn't read, or
            one that doesn't finish a message, is given up; sooner while memory is short.
        unread_seconds: After how long without progress a reply that a client doesn't read
            is given up, although the client reads others.
        max_handshakes: TLS handshakes at once.
        max_unread_bytes: Bytes of replies that a connection's client has not read, above
            which no more of its calls begin.
    """

    max_message_bytes: int = 16 * MIB
    max_metadata_bytes: int = 16 * 1024
    max_streams: int = 256
    max_calls: int = 4096
    max_connections: int = 1024
    calls_per_turn: int = 64
    handshake_seconds: float = 20.0
    idle_seconds: float = 1800.0
    age_seconds: float = 7200.0
    age_grace_seconds: float = math.inf
    ping_seconds: float = 7200.0
    ping_timeout_seconds: float = 20.0
    min_ping_seconds: float = 30.0
    stalled_seconds: float = 30.0
    unread_seconds: float = 300.0
    max_handshakes: int = 256
    max_unread_bytes: int = 8 * MIB


class PingLimit:
    """Counts pings of a client that come too early, by gRPC's rule.

    The count begins again whenever the server has sent a reply, because a client
    measures the connection with pings then.

    Args:
        min_seconds: The shortest time between two pings.
    """

    __slots__ = ("_last", "_min_seconds", "_strikes")

    MAX_STRIKES = 2

    def __init__(self, min_seconds: float) -> None:
        self._min_seconds = min_seconds
        self.replied()

    def replied(self) -> None:
        """Called when a reply was sent."""
        self._last = float("-inf")
        self._strikes = 0

    def exceeded_by_ping(self, now: float) -> bool:
        """Count a ping; return whether there were too many."""
        early, self._last = now < self._last + self._min_seconds, now
        self._strikes += early
        return self._strikes > self.MAX_STRIKES


class TokenBucket:
    """Counts what a client may do now and then, but not all the time."""

    __slots__ = ("_last", "_tokens")

    BURST = 100.0
    PER_SECOND = 10.0

    def __init__(self, now: float) -> None:
        self._tokens = self.BURST
        self._last = now

    def is_exceeded(self, now: float, refill: float = 0.0) -> bool:
        """Count one more; return whether there were too many.

        Args:
            now: The time.
            refill: Tokens that the client has earned since the last one.
        """
        refill += (now - self._last) * self.PER_SECOND
        self._tokens = min(self.BURST, self._tokens + refill) - 1.0
        self._last = now
        return self._tokens < 0.0
