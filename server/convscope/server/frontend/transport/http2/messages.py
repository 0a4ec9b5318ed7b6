"""Length-prefixed messages: collected from chunks, checked before they are stored, inflated."""

import zlib
from collections.abc import Sequence

import grpc

from convscope.server.errors import OutOfMemoryError
from convscope.server.frontend.transport.http2.mapped_memory import MappedMemory
from convscope.server.frontend.transport.http2.wire import PREFIX_BYTES, BadRequestError

__all__ = ["MessageReader", "RawMessage", "inflate", "no_memory"]

RawMessage = tuple[bool, bytes | memoryview]

# Larger messages get memory of their own: it is used only as far as bytes arrive, and it returns
# to the system soon. In the heap, chunks and whole messages side by side leave gaps.
MIN_MAPPED_BYTES = 1 << 20

# What is inflated without a chance for other threads.
INFLATED_AT_ONCE = 64 * 1024

_WINDOW_BITS = {"gzip": 31, "deflate": 15}


class MessageReader:
    """Collects the messages of one stream.

    Args:
        max_bytes: The size of a message, also when it is inflated.
        encoding: How compressed messages are compressed; None if none may be.
    """

    __slots__ = ("_buffer", "_chunks", "_encoding", "_max_bytes", "_prefix", "announced")

    def __init__(self, max_bytes: int, encoding: str | None) -> None:
        self._max_bytes = max_bytes
        self._encoding = encoding
        self._prefix = b""
        self.announced = 0
        """The bytes of the current message that have not arrived; 0 before its prefix has."""
        self._chunks: list[bytes | memoryview] = []
        self._buffer: memoryview | None = None  # in place of the chunks

    @property
    def is_between_messages(self) -> bool:
        """Whether no message has begun."""
        return not self._prefix

    def append(self, data: bytes | memoryview) -> bool:
        """Add a chunk from the middle of a message; return False if it isn't one."""
        size = len(data)
        if size >= self.announced:
            return False
        self._store(data, size)
        return True

    def append_all(self, chunks: Sequence[bytes], size: int) -> bool:
        """Add chunks from the middle of a message; return False if they aren't all of it.

        Args:
            chunks: The chunks.
            size: The sum of their sizes.
        """
        if size >= self.announced:
            return False
        if self._buffer is None:
            self._chunks += chunks
            self.announced -= size
        else:
            for chunk in chunks:
                self._store(chunk, len(chunk))
        return True

    def _store(self, data: bytes | memoryview, size: int) -> None:
        if self._buffer is None:
            self._chunks.append(data)
        else:
            start = len(self._buffer) - self.announced
            self._buffer[start : start + size] = data
        self.announced -= size

    def feed(self, data: bytes) -> list[RawMessage]:
        """Add a chunk; return the messages that are complete now, and whether each is compressed.

        Raises:
            BadRequestError: A message is too large, or its prefix is wrong.
        """
        messages: list[RawMessage] = []
        view, offset = memoryview(data), 0
        while True:
            if len(self._prefix) < PREFIX_BYTES:
                part = data[offset : offset + PREFIX_BYTES - len(self._prefix)]
                self._prefix += part
                offset += len(part)
                if len(self._prefix) < PREFIX_BYTES:
                    return messages
                self._begin()
            taken = min(self.announced, len(data) - offset)
            if taken:
                self._store(data if taken == len(data) else view[offset : offset + taken], taken)
                offset += taken
            if self.announced:
                return messages
            messages.append(self._end())

    def _begin(self) -> None:
        size = int.from_bytes(self._prefix[1:], "big")
        if size > self._max_bytes:
            raise _too_large(size, self._max_bytes)
        if self._prefix[0] > 1 or (self._prefix[0] and self._encoding is None):
            raise BadRequestError(
                grpc.StatusCode.INTERNAL,
                "the message is marked as compressed, but grpc-encoding names no compression",
            )
        if size >= MIN_MAPPED_BYTES:
            try:
                self._buffer = memoryview(MappedMemory(size))
            except (OSError, MemoryError) as error:
                raise no_memory() from error
        self.announced = size

    def _end(self) -> RawMessage:
        data = b"".join(self._chunks) if self._buffer is None else self._buffer
        message = (bool(self._prefix[0]), data)
        self._prefix = b""
        self._chunks, self._buffer = [], None
        return message


def inflate(data: bytes | memoryview, encoding: str | None, max_bytes: int) -> bytes | memoryview:
    """Inflate a message, and at most one byte more than is allowed.

    It is inflated in parts, into memory of its own. One call for all of it would join the parts
    in the end, and no other thread could run meanwhile.

    Raises:
        BadRequestError: It is larger, or not compressed like that.
    """
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding or "gzip"])
    waiting, rest = memoryview(b""), memoryview(data)
    buffer: memoryview | None = None  # unless the first part is all of it
    size = 0
    try:
        while True:
            if not waiting:
                waiting, rest = rest[:INFLATED_AT_ONCE], rest[INFLATED_AT_ONCE:]
            part = inflater.decompress(waiting, min(INFLATED_AT_ONCE, max_bytes + 1 - size))
            size += len(part)
            if size > max_bytes:
                raise BadRequestError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED, "Decompressed message larger than max"
                )
            if buffer is None and not inflater.eof:
                buffer = memoryview(MappedMemory(max_bytes))
            if buffer is not None:
                buffer[size - len(part) : size] = part
            if inflater.eof:
                break
            if not (part or waiting):
                raise _damaged()  # it ends early
            waiting = memoryview(inflater.unconsumed_tail)
    except zlib.error as error:
        raise _damaged() from error
    except OSError as error:
        raise no_memory() from error
    if inflater.unused_data or rest:
        raise _damaged()
    return part if buffer is None else buffer[:size]


def no_memory() -> BadRequestError:
    """Return the error for a message that the process has no memory for."""
    error = OutOfMemoryError("for the message")
    return BadRequestError(error.code, error.message)


def _too_large(size: int, max_bytes: int) -> BadRequestError:
    return BadRequestError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"SERVER: Received message larger than max ({size} vs. {max_bytes})",
    )


def _damaged() -> BadRequestError:
    return BadRequestError(
        grpc.StatusCode.INTERNAL, "the message is not compressed as grpc-encoding says"
    )
