"""The limits of connections over time, checked for all of them at regular intervals."""

import random

import grpc
import structlog

from convscope.server.frontend.transport.http2.connection import Connection
from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.uploads import PAUSE_SECONDS
from convscope.server.frontend.transport.unexpected import unexpected_error

__all__ = ["check", "sweep_seconds"]

log = structlog.get_logger(__name__)

# Above this share of the budget, large replies that are not read give way as soon as uploads that
# pause.
SHORTAGE = 0.75
# Connections that were opened together are not closed together.
JITTER = 0.1
OLD_MESSAGE = "the connection has reached its age, and the call its grace; call again"


def sweep_seconds(limits: Limits) -> float:
    """Return the interval between two checks."""
    shortest = min(
        limits.handshake_seconds,
        limits.idle_seconds,
        limits.age_seconds,
        limits.age_grace_seconds,
        limits.ping_seconds,
        limits.ping_timeout_seconds,
        limits.stalled_seconds,
        limits.unread_seconds,
    )
    return max(0.02, min(1.0, shortest / 4))


def check(connection: Connection, limits: Limits, now: float) -> None:
    """Close or ping a connection that has reached a limit."""
    try:
        connection.watch_uploads()
        connection.end_unread(now)
        _check(connection, limits, now)
    except Exception:  # noqa: BLE001 - an error ends this connection, not the checks of all
        unexpected_error(log, peer=connection.peer.peer)
        connection.abort()


def _check(connection: Connection, limits: Limits, now: float) -> None:
    if connection.closing_at is not None:
        if now > connection.closing_at:
            connection.abort()
    elif not connection.is_established:
        if now - connection.opened_at > limits.handshake_seconds:
            connection.abort()
    elif _is_stalled(connection, limits, now) or _is_dead(connection, limits, now):
        connection.abort()
    elif not connection.is_draining:
        _check_age(connection, limits, now)
    elif connection.end_at is not None and now > connection.end_at:
        connection.end_calls(grpc.StatusCode.UNAVAILABLE, OLD_MESSAGE)


def _is_stalled(connection: Connection, limits: Limits, now: float) -> bool:
    """Return whether replies wait and the client has not read for too long."""
    unread = connection.unread_bytes()
    taken = connection.taken_bytes(unread)
    # Further replies to a client that doesn't read are no progress.
    before, connection.taken_before = connection.taken_before, taken
    if not unread or taken > before:
        connection.progress_at = now
        return False
    seconds, budget = limits.stalled_seconds, connection.uploads.budget
    is_short = budget.used > SHORTAGE * budget.limit
    if is_short and any(stream.reply_bytes for stream in connection.streams.values()):
        seconds = min(seconds, PAUSE_SECONDS)  # otherwise a few clients stop all others
    return now - connection.progress_at > seconds


def _is_dead(connection: Connection, limits: Limits, now: float) -> bool:
    """Ping a silent client; return whether it did not answer in time."""
    sent_at = connection.ping_sent_at
    if sent_at is not None and connection.received_at <= sent_at:
        return now - sent_at > limits.ping_timeout_seconds
    connection.ping_sent_at = None  # whatever arrives after a ping shows that the client is there
    if now - connection.received_at > limits.ping_seconds:
        connection.ping()
    return False


def _check_age(connection: Connection, limits: Limits, now: float) -> None:
    jitter = 1.0 + JITTER * (2.0 * random.Random(id(connection)).random() - 1.0)
    idle = not connection.streams and now - connection.active_at > limits.idle_seconds * jitter
    if idle or now - connection.opened_at > limits.age_seconds * jitter:
        connection.drain()
        connection.end_at = now + limits.age_grace_seconds
