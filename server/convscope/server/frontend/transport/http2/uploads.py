"""Messages that have arrived in part, and what happens to them when memory is short."""

from collections.abc import Callable
from typing import Protocol

from convscope.server.frontend.transport.memory_budget import SMALL_BYTES, MemoryBudget

__all__ = ["PAUSE_SECONDS", "Upload", "Uploads"]

# How far above the limit uploads that wait may bring the budget; their windows are open.
SLACK_BYTES = 16 << 20
MIN_BYTES_PER_SECOND = 1024
# When memory is short, uploads of which nothing arrived for so long give way to others.
PAUSE_SECONDS = 2.0
# How long no such upload is searched after none was found.
SEARCH_SECONDS = 0.1
# How long after memory was short messages are admitted by all bytes that were announced. At other
# times only the bytes that have arrived count, so that announcements alone reserve nothing.
SHORTAGE_SECONDS = 2.0


class Upload(Protocol):
    """A call that receives a message."""

    ended: bool
    held: int
    is_backlogged: bool
    is_starved: bool
    is_upload: bool
    unacknowledged: int
    upload_arrived_at: float
    upload_bytes: int
    upload_checked_at: float
    upload_checked_bytes: int
    upload_remaining: int

    def acknowledge_held_back(self) -> None:
        """Let the client send again."""

    def reject_full(self) -> None:
        """End the call because its bytes don't fit into the budget."""

    def reject_stalled(self) -> None:
        """End the call because too little of its request arrives."""


class Uploads:
    """Shares the budget among the unfinished uploads of all connections.

    At the limit an upload is not acknowledged, so that its client stops sending,
    until bytes are released. Uploads that pause are rejected then. If nothing but
    uploads holds the bytes, none will be released: those of which most has arrived go on,
    as many as fit completely, and the others are rejected. Small requests go on meanwhile, in
    the reserve of the budget.

    Args:
        budget: The bytes that the process may hold.
        time: Returns the time.
    """

    def __init__(self, budget: MemoryBudget, time: Callable[[], float]) -> None:
        self.budget = budget
        self._time = time
        self._uploads: set[Upload] = set()
        self._bytes = 0  # what has arrived of all of them
        self._remaining = 0  # what they have announced and not sent
        self._short_until = 0.0
        self._starved: dict[Upload, None] = {}
        self._next_search = 0.0

    def __len__(self) -> int:
        return len(self._uploads)

    def admits(self, upload: Upload, announced: int) -> bool:
        """Return whether the rest of a message fits; a single large message always does."""
        budget = self.budget
        if announced <= SMALL_BYTES and budget.admits(announced):
            return True
        if budget.used == upload.held or budget.admits(self._needed(upload, announced)):
            return True
        self._end_paused(self._needed(upload, announced))
        return budget.admits(self._needed(upload, announced))

    def _needed(self, upload: Upload, announced: int) -> int:
        """Return the room for a message, and after a shortage for what others have announced."""
        if self._time() >= self._short_until:
            return announced
        return announced + self._remaining - upload.upload_remaining

    def arrived(self, upload: Upload, size: int, remaining: int) -> None:
        """Count a chunk of a message that is not complete.

        Args:
            upload: The call.
            size: The bytes of the chunk.
            remaining: The bytes of the message that have not arrived.
        """
        now = self._time()
        if not upload.is_upload:
            upload.is_upload = True
            upload.upload_checked_at = now
            upload.upload_bytes = upload.upload_checked_bytes = 0
            self._uploads.add(upload)
        upload.upload_arrived_at = now
        upload.upload_bytes += size
        self._bytes += size
        self._remaining += remaining - upload.upload_remaining
        upload.upload_remaining = remaining

    def completed(self, upload: Upload) -> None:
        """Called when the message is complete."""
        if upload.is_upload:
            upload.is_upload = False
            self._uploads.discard(upload)
            self._bytes -= upload.upload_bytes
            self._remaining -= upload.upload_remaining
            upload.upload_remaining = 0

    def ended(self, upload: Upload) -> None:
        """Called when the call has ended."""
        self.completed(upload)
        if upload.is_starved:
            upload.is_starved = False
            self._starved.pop(upload, None)

    def starve(self, upload: Upload, size: int) -> None:
        """Hold back the acknowledgement of bytes: the limit is reached."""
        upload.unacknowledged += size
        budget = self.budget
        if budget.used == upload.held:
            if not upload.is_backlogged:  # it is acknowledged when its messages are read
                upload.acknowledge_held_back()  # a single large message goes on
            return
        upload.upload_arrived_at = now = self._time()
        self._end_paused(0)
        if budget.used <= budget.limit:
            upload.acknowledge_held_back()
            return
        upload.is_starved = True
        self._starved[upload] = None
        self._short_until = now + SHORTAGE_SECONDS
        budget.when_room(self._resume)
        self._end_smallest(size)

    def _end_smallest(self, size: int) -> None:
        """End uploads if nothing will release bytes, or too many bytes are in memory.

        To end just enough of them would let all others share the room again, and none of
        them would be completed.

        Args:
            size: The bytes that have arrived and are not counted as an upload yet.
        """
        budget = self.budget
        is_stuck = self._bytes + size >= budget.used or budget.used > budget.limit + SLACK_BYTES
        if budget.used <= budget.limit or not is_stuck:
            return
        room = budget.limit - (budget.used - self._bytes)
        for upload in sorted(self._uploads, key=lambda each: each.upload_bytes, reverse=True):
            needed = upload.upload_bytes + upload.upload_remaining
            if needed <= room:
                room -= needed
            elif budget.used != upload.held:  # a single large message goes on
                upload.reject_full()
        while self._starved and budget.used > budget.limit:
            youngest, _ = self._starved.popitem()
            youngest.reject_full()

    def _end_paused(self, size: int) -> None:
        """End uploads of which nothing arrived for a while, until a message of this size fits."""
        now = self._time()
        if now < self._next_search:
            return
        since = now - PAUSE_SECONDS
        paused = [u for u in self._uploads if u.upload_arrived_at < since and not u.is_starved]
        for upload in sorted(paused, key=lambda upload: upload.upload_arrived_at):
            if self.budget.admits(size):
                return
            upload.reject_full()
        self._next_search = now + SEARCH_SECONDS

    def end_stalled(self, seconds: float) -> None:
        """End the uploads of which too little arrived since the check before.

        Args:
            seconds: The time between two checks of an upload.
        """
        now = self._time()
        for upload in list(self._uploads):
            age = now - upload.upload_checked_at
            if age < seconds:
                continue
            arrived = upload.upload_bytes - upload.upload_checked_bytes
            if arrived < age * MIN_BYTES_PER_SECOND and not upload.is_starved:
                upload.reject_stalled()
            else:
                upload.upload_checked_at = now
                upload.upload_checked_bytes = upload.upload_bytes
        self._end_smallest(0)

    def _resume(self) -> None:
        """Let the uploads that waited longest go on, as far as there is room."""
        room = self.budget.limit - self.budget.used
        while self._starved and room > 0:
            oldest = next(iter(self._starved))
            del self._starved[oldest]
            oldest.is_starved = False
            room -= oldest.unacknowledged
            oldest.acknowledge_held_back()
        if self._starved:
            self.budget.when_room(self._resume)
