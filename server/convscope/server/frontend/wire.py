"""The parts of protobuf's wire format that replies are assembled from."""

__all__ = ["field", "varint"]


def varint(value: int) -> bytes:
    """Encode an integer, which isn't negative."""
    if value < 0x80:
        return _SHORT[value]
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def field(number: int, data: bytes) -> bytes:
    """Encode a field of bytes, text or a message; its number is at most 15."""
    return _SHORT[number << 3 | 2] + varint(len(data)) + data


_SHORT = [bytes([value]) for value in range(0x80)]
