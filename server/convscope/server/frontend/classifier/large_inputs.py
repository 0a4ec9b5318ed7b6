"""Parses requests without copying their large inputs.

protobuf copies the bytes of a field twice, and nothing else runs meanwhile: for milliseconds if an
image has megabytes. Here the large inputs stay in the message, and the rest of it is parsed.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from convscope.server.runtime.wire import encode_field, fields
from convscope.v1 import inference_pb2 as pb

__all__ = ["LargeRequest", "contents_of", "parse_request"]

# Smaller messages are parsed as they are: that takes less time.
MIN_MESSAGE_BYTES = 128 * 1024
MIN_INPUT_BYTES = 64 * 1024
# A message with more fields is parsed as it is: they are no few large inputs.
MAX_FIELDS = 256
MAX_TENSOR_FIELDS = 16

_INPUTS, _IMAGE, _TENSORS, _DATA = 4, 1, (2, 3), 3
_BYTES = 2  # the kind of a field of bytes, text or a message


class LargeRequest:
    """A ClassifyRequest whose large inputs are empty in the message, and at hand beside it.

    Args:
        message: The rest of the request, whose fields this object has too.
        contents: The bytes of the large inputs, by their index.
    """

    __slots__ = ("contents", "message")

    def __init__(self, message: pb.ClassifyRequest, contents: Mapping[int, memoryview]) -> None:
        self.message = message
        self.contents = contents

    def __getattr__(self, name: str) -> Any:
        return getattr(self.message, name)


class _Cut(NamedTuple):
    """An input without its bytes, and its bytes."""

    rest: bytes
    content: memoryview


def parse_request(data: bytes | memoryview) -> pb.ClassifyRequest | LargeRequest:
    """Parse a ClassifyRequest.

    Raises:
        google.protobuf.message.DecodeError: It is no valid message.
    """
    if len(data) >= MIN_MESSAGE_BYTES:
        try:
            found = _split(memoryview(data).toreadonly())
        except (IndexError, ValueError):
            found = None  # protobuf reports what is wrong
        if found is not None:
            return found
    return pb.ClassifyRequest.FromString(data)  # type: ignore[arg-type] # it takes any buffer


def _split(data: memoryview) -> LargeRequest | None:
    found = list(islice(fields(data), MAX_FIELDS + 1))
    if len(found) > MAX_FIELDS:
        return None
    parts: list[bytes | memoryview] = []
    contents: dict[int, memoryview] = {}
    index = 0
    for field in found:
        part: bytes | memoryview = field.whole
        if field.number == _INPUTS and field.whole[0] & 7 == _BYTES:
            cut = _cut(field.value)
            if cut is not None:
                part, contents[index] = encode_field(_INPUTS, cut.rest), cut.content
            index += 1
        parts.append(part)
    return LargeRequest(pb.ClassifyRequest.FromString(b"".join(parts)), contents)


def _cut(message: memoryview) -> _Cut | None:
    """Split an Input; return None if it is small, or has several contents."""
    found = list(islice(fields(message), 2))
    if len(found) != 1 or len(found[0].value) < MIN_INPUT_BYTES:
        return None
    (field,) = found
    if field.number == _IMAGE:
        return _Cut(encode_field(_IMAGE, b""), field.value)
    if field.number not in _TENSORS:
        return None
    parts = list(islice(fields(field.value), MAX_TENSOR_FIELDS + 1))
    data = [part.value for part in parts if part.number == _DATA]
    if len(parts) > MAX_TENSOR_FIELDS or len(data) != 1 or len(data[0]) < MIN_INPUT_BYTES:
        return None
    rest = b"".join(part.whole for part in parts if part.number != _DATA)
    return _Cut(encode_field(field.number, rest), data[0])


def contents_of(message: Any) -> Mapping[int, memoryview]:
    """Return the bytes of the inputs that aren't in a message, by their index."""
    return message.contents if type(message) is LargeRequest else _NONE


_NONE: Mapping[int, memoryview] = {}
