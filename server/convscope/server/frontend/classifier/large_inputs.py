"""Parses requests without copying their large inputs.

protobuf copies the bytes of a field twice, and nothing else runs meanwhile: for milliseconds if an
image has megabytes. Here the large inputs stay in the message, and the rest of it is parsed.
"""

from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from convscope.server.runtime.wire import BYTES, encode_field, spans
from convscope.v1 import inference_pb2 as pb

__all__ = ["LargeRequest", "parse_request", "unpacked"]

# Smaller messages are parsed as they are: that takes less time, also for a tensor of 150 kB.
MIN_MESSAGE_BYTES = 256 * 1024
MIN_INPUT_BYTES = 64 * 1024
# A message with more fields is parsed as it is: they are no few large inputs.
MAX_FIELDS = 256
MAX_TENSOR_FIELDS = 16

_INPUTS, _IMAGE, _TENSORS, _DATA = 4, 1, (2, 3), 3
_INPUTS_TAG, _DATA_TAG = _INPUTS << 3 | BYTES, _DATA << 3 | BYTES

# The bytes of the inputs that aren't in the message, by their index.
Contents = Mapping[int, memoryview]
_NONE: Contents = {}


class LargeRequest(NamedTuple):
    """A ClassifyRequest whose large inputs are empty in the message, and at hand beside it."""

    message: pb.ClassifyRequest
    contents: Contents


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


def unpacked(request: pb.ClassifyRequest | LargeRequest) -> tuple[pb.ClassifyRequest, Contents]:
    """Return the message of a request, and the bytes of the inputs that aren't in it."""
    return request if isinstance(request, LargeRequest) else (request, _NONE)


def _split(data: memoryview) -> LargeRequest | None:
    found = list(islice(spans(data, 0, len(data)), MAX_FIELDS + 1))
    if len(found) > MAX_FIELDS:
        return None
    parts: list[bytes | memoryview] = []
    contents: dict[int, memoryview] = {}
    index = 0
    for tag, start, content, end in found:
        part: bytes | memoryview = data[start:end]
        if tag == _INPUTS_TAG:
            cut = _cut(data, content, end) if end - content >= MIN_INPUT_BYTES else None
            if cut is not None:
                part, contents[index] = encode_field(_INPUTS, cut.rest), cut.content
            index += 1
        parts.append(part)
    return LargeRequest(pb.ClassifyRequest.FromString(b"".join(parts)), contents)


def _cut(data: memoryview, start: int, end: int) -> _Cut | None:
    """Split an Input; return None if its content is small, or if it has several."""
    found = list(islice(spans(data, start, end), 2))
    if len(found) != 1:
        return None
    tag, _, content, _ = found[0]
    if tag & 7 != BYTES or end - content < MIN_INPUT_BYTES:
        return None
    number = tag >> 3
    if number == _IMAGE:
        return _Cut(encode_field(_IMAGE, b""), data[content:end])
    return _cut_tensor(data, number, content, end) if number in _TENSORS else None


def _cut_tensor(data: memoryview, number: int, start: int, end: int) -> _Cut | None:
    parts = list(islice(spans(data, start, end), MAX_TENSOR_FIELDS + 1))
    large = [data[content:part_end] for tag, _, content, part_end in parts if tag == _DATA_TAG]
    if len(parts) > MAX_TENSOR_FIELDS or len(large) != 1 or len(large[0]) < MIN_INPUT_BYTES:
        return None
    rest = b"".join([data[part:part_end] for tag, part, _, part_end in parts if tag != _DATA_TAG])
    return _Cut(encode_field(number, rest), large[0])
