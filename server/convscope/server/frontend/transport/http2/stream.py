"""What all calls have in common: one stream of a connection, from its headers to its status."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import grpc

from convscope.server.frontend.access.control import Admission
from convscope.server.frontend.transport.calls import Metadata, RejectionReason, pushback
from convscope.server.frontend.transport.http2.deadlines import Bucket
from convscope.server.frontend.transport.http2.engine import FIRST_WINDOW_BYTES
from convscope.server.frontend.transport.http2.heads import Head
from convscope.server.frontend.transport.http2.inflating import Inflater
from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.messages import MessageReader, RawMessage
from convscope.server.frontend.transport.http2.peer import ConnectionPeer
from convscope.server.frontend.transport.http2.uploads import Uploads
from convscope.server.frontend.transport.http2.wire import (
    PREFIX_BYTES,
    BadRequestError,
    Header,
    Metadatum,
)
from convscope.server.frontend.transport.memory_budget import (
    FULL_MESSAGE,
    PUSHBACK_MS,
    MemoryBudget,
)

__all__ = ["DEADLINE_MESSAGE", "Link", "Stream"]

DEADLINE_MESSAGE = "Deadline Exceeded"
STALLED_MESSAGE = "the request arrived too slowly, or not to its end; send it again"


class Link(Protocol):
    """What a stream needs of its connection."""

    limits: Limits
    uploads: Uploads
    inflater: Inflater
    on_rejected: Callable[[RejectionReason], None]

    @property
    def peer(self) -> ConnectionPeer:
        """The other end."""

    def acknowledge(self, size: int, stream_id: int) -> None:
        """Let the client send as many bytes as were consumed."""

    def widen_window(self, stream_id: int) -> None:
        """Let the client send more of a message ahead."""

    def unread_bytes(self) -> int:
        """Return the bytes of replies that the client has not taken."""

    def send_headers(self, stream_id: int, headers: Sequence[Header]) -> None:
        """Send the initial metadata of a response."""

    def send_message(self, stream: "Stream", message: bytes) -> None:
        """Send a message of a response."""

    def send_reply(self, stream: "Stream", message: bytes, trailing: Metadata) -> None:
        """Send a whole response, with OK."""

    def send_status(
        self,
        stream: "Stream",
        code: grpc.StatusCode,
        details: str,
        trailing: Metadata = (),
        headers: Sequence[Header] = (),
    ) -> None:
        """Send the status of a call, which ends it."""


class Stream(ABC):
    """One call.

    Args:
        link: Its connection.
        stream_id: Its number there.
        head: What its headers say.
        deadline: The `loop.time()` after which the caller no longer waits, or None.
    """

    __slots__ = (
        "_admitted",
        "_link",
        "_reader",
        "admission",
        "allowance",
        "bucket",
        "deadline",
        "ended",
        "ended_with",
        "has_sent_headers",
        "head",
        "held",
        "id",
        "is_starved",
        "is_upload",
        "received_all",
        "reply_bytes",
        "unacknowledged",
        "upload_arrived_at",
        "upload_bytes",
        "upload_checked_at",
        "upload_checked_bytes",
        "upload_remaining",
    )

    # Whether bytes that arrive are acknowledged only when the messages before are read.
    is_backlogged: bool = False
    # Whether bytes will be released by replies, for which the rest of the request can wait.
    is_in_progress: bool = False
    # Whether the caller may wait between the messages of its request as long as it likes.
    may_wait: bool = False
    # Whether it is a stream with nothing in progress, which may go on at another server.
    is_idle: bool = False
    # The bytes of the messages of its reply; one that is sent at once need not be counted.
    written: int = 0

    def __init__(self, link: Link, stream_id: int, head: Head, deadline: float | None) -> None:
        self._link = link
        self.id = stream_id
        self.head = head
        self.deadline = deadline
        self.bucket: Bucket | None = None
        self.admission: Admission | None = None
        self.allowance: MemoryBudget | None = None  # what its caller may have in flight
        self.ended = False
        self.ended_with: grpc.StatusCode | None = None  # unless it ended by its handler
        self.received_all = False
        self.has_sent_headers = False
        self.held = 0  # bytes in the process's budget
        self.reply_bytes = 0  # bytes of a large reply there
        self.unacknowledged = 0
        self.is_upload = False  # whether a part of a message has arrived
        self.is_starved = False  # whether it waits for room in the budget
        self.upload_arrived_at = 0.0
        self.upload_bytes = self.upload_remaining = 0
        self.upload_checked_at = 0.0
        self.upload_checked_bytes = 0
        self._reader: MessageReader | None = None
        self._admitted = False

    @property
    def metadata(self) -> Sequence[Metadatum]:
        """The caller's metadata."""
        return self.head.metadata

    @property
    def peer(self) -> str:
        """The address of the caller."""
        return self._link.peer.peer

    def receive(self, data: bytes, is_last: bool) -> None:
        """Called with each chunk of the request; its bytes are in `held` already."""
        reader = self._reader
        if reader is None:
            reader = self._reader = MessageReader(
                self._link.limits.max_message_bytes, self.head.encoding
            )
        try:
            self.take_messages(reader.feed(data))
            if self.ended:
                return
            if is_last:
                self.received_all = True
                if not reader.is_between_messages:
                    raise BadRequestError(
                        grpc.StatusCode.INTERNAL, "the request ends within a message"
                    )
                self._link.uploads.completed(self)
                self.take_end()
            elif reader.is_between_messages:
                if self.may_wait:
                    self._link.uploads.completed(self)
                self._admitted = False
            else:
                self._link.uploads.arrived(self, len(data), reader.announced)
                self._admit(reader)
        except BadRequestError as error:
            self.reject(error)

    def receive_all(self, chunks: Sequence[bytes], size: int, is_last: bool) -> None:
        """Called with chunks of the request that arrived together; their bytes are in `held`.

        Args:
            chunks: Two or more chunks.
            size: The sum of their sizes.
            is_last: Whether the request ends with them.
        """
        rest = list(chunks)
        if self._reader is None:
            first = rest.pop(0)
            size -= len(first)
            self.receive(first, False)
        last = rest.pop() if is_last else b""
        size -= len(last)
        reader = self._reader
        if reader is not None and reader.append_all(rest, size):
            self._link.uploads.arrived(self, size, reader.announced)
        else:
            for chunk in rest:
                if not self.ended:
                    self.receive(chunk, False)
        if is_last and not self.ended:
            self.receive(last, True)

    def _admit(self, reader: MessageReader) -> None:
        """Reject a message that doesn't fit as soon as its size is known."""
        if not self._admitted and (announced := reader.announced):
            self._admitted = True
            if not (self.is_in_progress or self._link.uploads.admits(self, announced)):
                self.reject_full()
            elif announced > FIRST_WINDOW_BYTES:
                self._link.widen_window(self.id)

    @property
    @abstractmethod
    def is_begun(self) -> bool:
        """Whether its handler has it, which counts it then."""

    @abstractmethod
    def take_messages(self, messages: Sequence[RawMessage]) -> None:
        """Called with the messages that are complete.

        Raises:
            BadRequestError: There are too many, or one is wrong.
        """

    @abstractmethod
    def take_end(self) -> None:
        """Called when the caller has sent everything.

        Raises:
            BadRequestError: There are too few messages.
        """

    @abstractmethod
    def cancelled(self) -> None:
        """Called once if the call ends without an answer of its handler."""

    def expected(self, data: bytes | memoryview) -> int:
        """Return the size of the request with its message in progress.

        Args:
            data: What has arrived last, and is counted already.
        """
        if self.is_upload:
            return self.held + self.upload_remaining
        if len(data) == self.held >= PREFIX_BYTES:  # the first chunk
            return PREFIX_BYTES + int.from_bytes(data[1:PREFIX_BYTES], "big")
        return self.held

    def grow(self, size: int) -> None:
        """Count the bytes by which a message became larger when it was inflated."""
        self.held += size
        self._link.uploads.budget.take(size)
        if self.allowance is not None:
            self.allowance.take(size)

    def end(self) -> None:
        """Release everything; nothing is sent after this but what was queued."""
        self.ended = True
        if self.bucket is not None:
            self.bucket.discard(self)
            self.bucket = None
        if self.is_upload or self.is_starved or self.unacknowledged:
            self._link.uploads.ended(self)
            self.acknowledge_held_back()
        if self.held:
            self._link.uploads.budget.release(self.held)
            if self.allowance is not None:
                self.allowance.release(self.held)
            self.held = 0
        self._reader = None

    def acknowledge_held_back(self) -> None:
        """Let the client send again."""
        size, self.unacknowledged = self.unacknowledged, 0
        if size:
            self._link.acknowledge(size, self.id)

    def closed(self) -> None:
        """Called when the stream is gone, after its end or before."""
        if self.reply_bytes:
            self._link.uploads.budget.release(self.reply_bytes)
            self.reply_bytes = 0
        if not self.ended:
            self.end()
            self.cancelled()

    def expire(self) -> None:
        """Called when the deadline has passed."""
        self._count_rejection("expired")
        self.abandon(grpc.StatusCode.DEADLINE_EXCEEDED, DEADLINE_MESSAGE)

    def abandon(
        self,
        code: grpc.StatusCode,
        details: str,
        trailing: Metadata = (),
        headers: Sequence[Header] = (),
    ) -> None:
        """End the call with a status that isn't its handler's."""
        if not self.ended:
            self.ended_with = code
            self.end()
            self._link.send_status(self, code, details, trailing, headers)
            self.cancelled()

    def reject(self, error: BadRequestError) -> None:
        """End the call because of what the caller sent."""
        too_large = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        self._count_rejection("too_large" if too_large else "invalid")
        self.abandon(error.code, error.details, (), error.headers)

    def reject_full(self) -> None:
        """End the call because its bytes don't fit into the budget."""
        if not self.ended:
            self._link.uploads.budget.on_rejected()
        later = (("grpc-retry-pushback-ms", str(PUSHBACK_MS)),)
        self.abandon(grpc.StatusCode.RESOURCE_EXHAUSTED, FULL_MESSAGE, later)

    def reject_over_allowance(self) -> None:
        """End the call because its caller has too many bytes in flight."""
        if not self.ended and self.admission is not None:
            error = self.admission.caller.over_concurrent_bytes()
            self.abandon(error.code, error.message, pushback(error))

    def reject_stalled(self) -> None:
        """End the call because too little of its request arrives."""
        self._count_rejection("stalled")
        self.abandon(grpc.StatusCode.RESOURCE_EXHAUSTED, STALLED_MESSAGE)

    def _count_rejection(self, reason: RejectionReason) -> None:
        """Count the call, unless its handler does."""
        if not (self.ended or self.is_begun):
            self._link.on_rejected(reason)
