"""Replies that a client does not read, although it may read others."""

from collections.abc import Callable, Iterable

from convscope.server.frontend.transport.http2.stream import Stream

__all__ = ["UnreadReplies"]


class UnreadReplies:
    """How far each reply of a connection was read, and since when it is not.

    Args:
        seconds: How long a reply may stay unread without progress.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._progress: dict[int, tuple[int, float]] = {}

    def overdue(
        self, streams: Iterable[Stream], queued_bytes: Callable[[int], int], now: float
    ) -> list[Stream]:
        """Return the streams whose reply was not read for too long.

        Args:
            streams: The open streams of the connection.
            queued_bytes: Returns how many bytes of a stream the client has not read.
            now: The time.
        """
        before, self._progress = self._progress, {}
        found = []
        for stream in streams:
            queued = queued_bytes(stream.id)
            if not queued:
                continue
            # Further messages to a client that doesn't read are no progress.
            taken = stream.written - queued
            taken_before, since = before.get(stream.id, (taken, now))
            if taken > taken_before:
                since = now
            elif now - since > self._seconds:
                found.append(stream)
            self._progress[stream.id] = (taken, since)
        return found
