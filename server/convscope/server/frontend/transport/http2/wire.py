"""gRPC on HTTP/2: headers, metadata, status and the prefix of messages.

See https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import grpc

from convscope.server.frontend.transport.calls import Metadata

__all__ = [
    "ACCEPTED_ENCODINGS",
    "OK_TRAILERS",
    "PREFIX_BYTES",
    "RESPONSE_HEADERS",
    "BadRequestError",
    "Header",
    "Metadatum",
    "decode_metadata",
    "encode_metadata",
    "message_prefix",
    "parse_timeout",
    "percent_encode",
    "trailers",
]

Header = tuple[bytes, bytes]

RESPONSE_HEADERS: Sequence[Header] = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
)
OK_TRAILERS: Sequence[Header] = ((b"grpc-status", b"0"),)
ACCEPTED_ENCODINGS: Header = (b"grpc-accept-encoding", b"identity,deflate,gzip")
PREFIX_BYTES = 5
# A client accepts at least 8 KiB of trailing metadata; the status's other fields need a part.
MAX_DETAILS_BYTES = 6 * 1024

_UNIT_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"[0-9]{1,8}[HMSmun]")
_TO_ESCAPE = re.compile(rb"[^ -$&-~]")
_PLAIN_VALUE = re.compile(rb"[ -~]*")
_KEY = re.compile(rb"[0-9a-z_.-]+")
# What HTTP/2 and gRPC itself use of the headers; the rest is the caller's metadata.
_RESERVED = frozenset(
    {
        b"te",
        b"content-type",
        b"content-length",
        b"host",
        b"grpc-timeout",
        b"grpc-encoding",
        b"grpc-accept-encoding",
        b"grpc-message-type",
    }
)


class BadRequestError(Exception):
    """A call that ends with a status before any handler has it.

    Args:
        code: The code of the status.
        details: Its message.
        headers: Further headers of the response.
    """

    def __init__(self, code: grpc.StatusCode, details: str, headers: Sequence[Header] = ()) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.headers = headers


class Metadatum(NamedTuple):
    """One pair of a call's metadata, as in grpc.aio."""

    key: str
    value: str | bytes


def parse_timeout(value: bytes) -> float:
    """Return the seconds of a `grpc-timeout`.

    Raises:
        BadRequestError: It has another form.
    """
    if _TIMEOUT.fullmatch(value) is None:
        raise BadRequestError(
            grpc.StatusCode.INTERNAL, "grpc-timeout must be at most 8 digits and one of HMSmun"
        )
    return int(value[:-1]) * _UNIT_SECONDS[value[-1:]]


def decode_metadata(headers: Iterable[Header]) -> Sequence[Metadatum]:
    """Return the caller's metadata among the headers of a request.

    Raises:
        BadRequestError: A value under a key ending with -bin is no base64.
    """
    metadata = []
    for name, value in headers:
        if name in _RESERVED or name.startswith(b":"):
            continue
        key = name.decode("latin-1")
        if key.endswith("-bin"):
            metadata += [Metadatum(key, _decode_binary(key, part)) for part in value.split(b",")]
        else:
            metadata.append(Metadatum(key, _decode_text(value)))
    return tuple(metadata)


def _decode_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _decode_binary(key: str, value: bytes) -> bytes:
    unpadded = value.strip().rstrip(b"=")
    try:
        return b64decode(unpadded + b"=" * (-len(unpadded) % 4), validate=True)
    except ValueError as error:
        message = f"the value of the metadata key {key} is not base64"
        raise BadRequestError(grpc.StatusCode.INTERNAL, message) from error


def encode_metadata(metadata: Metadata) -> list[Header]:
    """Return metadata as headers.

    Raises:
        ValueError: A key or a value can't be sent.
    """
    headers = []
    for key, value in metadata:
        name = key.encode()
        if _KEY.fullmatch(name) is None:
            raise ValueError(f"{key!r} is not a key of metadata")
        data = value.encode() if isinstance(value, str) else value
        if key.endswith("-bin"):
            data = b64encode(data).rstrip(b"=")
        elif _PLAIN_VALUE.fullmatch(data) is None:
            raise ValueError(f"the value of the metadata key {key} is not printable ASCII")
        headers.append((name, data))
    return headers


def percent_encode(text: str) -> bytes:
    """Return the text of a `grpc-message`."""
    encoded = _escape(text)
    if len(encoded) > MAX_DETAILS_BYTES:
        whole = re.sub(rb"%.?$", b"", encoded[:MAX_DETAILS_BYTES])  # without a part of an escape
        encoded = _escape(unquote_to_bytes(whole).decode(errors="ignore"))  # or of a character
    return encoded


def _escape(text: str) -> bytes:
    return _TO_ESCAPE.sub(lambda byte: b"%%%02X" % byte[0][0], text.encode(errors="replace"))


def trailers(code: grpc.StatusCode, details: str) -> list[Header]:
    """Return the headers of a status."""
    status = [(b"grpc-status", b"%d" % code.value[0])]
    if details:
        status.append((b"grpc-message", percent_encode(details)))
    return status


def message_prefix(size: int) -> bytes:
    """Return what precedes a message that is not compressed."""
    return b"\0" + size.to_bytes(4, "big")
