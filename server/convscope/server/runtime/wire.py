"""Reads and writes serialized protobuf messages field by field, without parsing them."""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["BYTES", "Field", "encode_field", "fields", "spans", "text", "texts"]

# The kinds of fields. Text and messages are bytes too.
_VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MAX_SHIFT = 63

# Where a field is: its tag, where it begins, where its content begins if that is text, bytes or a
# message, and where it ends.
Span = tuple[int, int, int, int]


class Field(NamedTuple):
    """One field of a message.

    Args:
        number: Its number.
        value: Its content if it is text, bytes or a message; otherwise empty.
        whole: All of it, with its tag.
    """

    number: int
    value: memoryview
    whole: memoryview

    @property
    def text(self) -> str:
        """Its content as text."""
        return str(self.value, "utf-8")


def spans(message: memoryview, position: int, end: int) -> Iterator[Span]:
    """Yield where the fields of a message are, in their order.

    Args:
        message: The bytes that contain it.
        position: Where it begins.
        end: Where it ends.

    Raises:
        ValueError: The message has a field of a kind that protobuf no longer has, or it ends
            within a field.
        IndexError: The bytes end within an integer.
    """
    while position < end:
        start = position
        tag = message[position]
        position += 1
        if tag >= 0x80:  # most integers have one byte, and a call takes as long as the rest
            tag, position = _varint(message, start)
        kind = tag & 7
        content = position
        if kind == BYTES:
            size = message[position]
            position += 1
            if size >= 0x80:
                size, position = _varint(message, content)
            content = position
            position += size
        elif kind == _VARINT:
            _, position = _varint(message, position)
        elif kind in _FIXED_SIZES:
            position += _FIXED_SIZES[kind]
        else:
            raise ValueError("the message has a group")
        if position > end:
            raise ValueError("the message is truncated")
        yield tag, start, content, position


def fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message in their order.

    Raises:
        ValueError: The message has a field of a kind that protobuf no longer has, or it ends
            within a field.
        IndexError: It ends within an integer.
    """
    for tag, start, content, end in spans(message, 0, len(message)):
        value = message[content : end if tag & 7 == BYTES else content]
        yield Field(tag >> 3, value, message[start:end])


def text(message: memoryview, number: int) -> str:
    """Return the last text of a field, which is the one that counts; empty without any."""
    found = texts(message, number)
    return found[-1] if found else ""


def texts(message: memoryview, number: int) -> list[str]:
    """Return all texts of a field."""
    return [field.text for field in fields(message) if field.number == number]


def encode_field(number: int, data: bytes, size: int | None = None) -> bytes:
    """Encode a field of bytes, text or a message.

    Args:
        number: Its number, at most 15.
        data: Its content, or the beginning of it.
        size: The size of the whole content; that of `data` by default.
    """
    length = bytearray()
    value = len(data) if size is None else size
    while value >= 0x80:
        length.append(value & 0x7F | 0x80)
        value >>= 7
    length.append(value)
    return bytes((number << 3 | BYTES, *length)) + data


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return an integer and the position after it."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > _MAX_SHIFT:
            raise ValueError("the message has an integer with more than 64 bits")
