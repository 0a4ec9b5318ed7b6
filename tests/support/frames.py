"""HTTP/2 frames byte by byte, also such as no client sends."""

from collections.abc import Iterable, Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
FRAME_HEADER_BYTES = 9


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame."""
    head = len(payload).to_bytes(3, "big") + bytes([kind & 255, flags & 255])
    return head + stream.to_bytes(4, "big") + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame with values by their number, as _4=65535."""
    pairs = ((int(key[1:]), value) for key, value in values.items())
    return frame(SETTINGS, payload=b"".join(word(key, 2) + word(value) for key, value in pairs))


def word(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "big")


def header_block(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as HPACK literals that are not added to the dynamic table."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in headers)


def _string(data: bytes) -> bytes:
    return hpack_integer(len(data), 7) + data


def hpack_integer(value: int, bits: int, flags: int = 0) -> bytes:
    """An integer whose first byte has as many bits for it."""
    largest = (1 << bits) - 1
    if value < largest:
        return bytes([flags | value])
    rest, out = value - largest, bytearray([flags | largest])
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def received_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kinds and payloads of the complete frames that a client received."""
    start = 0
    while start + FRAME_HEADER_BYTES <= len(data):
        end = start + FRAME_HEADER_BYTES + int.from_bytes(data[start : start + 3], "big")
        if end > len(data):
            return
        yield data[start + 3], data[start + FRAME_HEADER_BYTES : end]
        start = end


def goaway_codes(data: bytes) -> list[int]:
    """The error codes of the GOAWAY frames that a client received."""
    found = received_frames(data)
    return [int.from_bytes(payload[4:8], "big") for kind, payload in found if kind == GOAWAY]
