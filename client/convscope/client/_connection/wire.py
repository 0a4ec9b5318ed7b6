"""Protobuf's encoding of a field, for what is too large or too frequent for a tree of messages."""

__all__ = ["field_header"]

_LENGTH_DELIMITED = 2


def field_header(number: int, size_bytes: int) -> bytes:
    """Return what precedes the content of a field of bytes or of a message.

    Args:
        number: The number of the field.
        size_bytes: The size of its content.
    """
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(size_bytes)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
