"""The header blocks of requests: parsed once, and cached by their content."""

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from convscope.server.frontend.access.credentials import Credential
from convscope.server.frontend.transport.http2.wire import (
    ACCEPTED_ENCODINGS,
    BadRequestError,
    Header,
    Metadatum,
    decode_metadata,
    parse_timeout,
)

__all__ = ["Head", "HeadCache"]

_ENCODINGS = {b"identity": None, b"gzip": "gzip", b"deflate": "deflate"}


class Head:
    """What the headers of a request say.

    A request that is none of gRPC has an `http_error`: the HTTP status of the response.

    Args:
        headers: The headers.
    """

    __slots__ = (
        "_metadata",
        "credential",
        "encoding",
        "error",
        "headers",
        "http_error",
        "method",
        "timeout",
    )

    def __init__(self, headers: Sequence[Header]) -> None:
        self.headers = headers
        self.method: Any = None
        self.timeout: float | None = None
        self.encoding: str | None = None
        self.error: BadRequestError | None = None
        self.http_error: bytes | None = None
        self.credential: Credential | None = None
        self._metadata: Sequence[Metadatum] | None = None

    @property
    def metadata(self) -> Sequence[Metadatum]:
        """The caller's metadata, decoded at the first use."""
        if self._metadata is None:
            self._metadata = decode_metadata(self.headers)
        return self._metadata


class HeadCache:
    """Parses the headers of requests, and remembers those that come again and again.

    Args:
        find_method: Returns what serves a path, and None for an unknown one.
        max_metadata_bytes: Bytes of a call's metadata.
    """

    MAX_BYTES = 1 << 20
    MAX_ENTRY_BYTES = 2048

    def __init__(self, find_method: Callable[[str], Any], max_metadata_bytes: int) -> None:
        self._find_method = find_method
        self._max_metadata_bytes = max_metadata_bytes
        self.known: dict[Sequence[Header], Head] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.known)

    def __call__(self, headers: Sequence[Header]) -> Head:
        """Return what a request's headers say."""
        head = self.known.get(headers)
        return self._parse(headers) if head is None else head

    def _parse(self, headers: Sequence[Header]) -> Head:
        size = sum(len(name) + len(value) + 32 for name, value in headers)
        head = Head(headers)
        try:
            self._fill(head, size)
        except BadRequestError as error:
            head.error = error
        if size <= self.MAX_ENTRY_BYTES:
            self._remember(headers, head, 4 * size)  # the objects are larger than the bytes
        return head

    def _fill(self, head: Head, size: int) -> None:
        fields = dict(head.headers)
        if fields.get(b":method") != b"POST":
            head.http_error = b"405"
            return
        if not _is_grpc(fields.get(b"content-type", b"")):
            head.http_error = b"415"
            return
        if size > self._max_metadata_bytes:
            raise BadRequestError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the metadata has {size:,} bytes; at most {self._max_metadata_bytes:,} are "
                "accepted",
            )
        head.method = self._find_method(fields.get(b":path", b"").decode("latin-1"))
        if head.method is None:
            raise BadRequestError(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        if (timeout := fields.get(b"grpc-timeout")) is not None:
            head.timeout = parse_timeout(timeout)
        if b"authorization" in fields:
            values = (value for name, value in head.headers if name == b"authorization")
            head.credential = Credential(*(value.decode("latin-1") for value in values))
        encoding = fields.get(b"grpc-encoding", b"identity")
        if encoding not in _ENCODINGS:
            name = encoding.decode("latin-1")
            raise BadRequestError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"the compression {name!r} is not supported; use gzip, deflate or none",
                (ACCEPTED_ENCODINGS,),
            )
        head.encoding = _ENCODINGS[encoding]
        if any(name.endswith(b"-bin") for name in fields):
            _ = head.metadata  # an error ends the call

    def _remember(self, headers: Sequence[Header], head: Head, size: int) -> None:
        if self._bytes + size > self.MAX_BYTES:
            self.known.clear()
            self._bytes = 0
        self.known[headers] = head
        self._bytes += size


def _is_grpc(content_type: bytes) -> bool:
    return content_type == b"application/grpc" or content_type.startswith(
        (b"application/grpc+", b"application/grpc;")
    )
