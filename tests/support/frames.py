"""HTTP/2 frames byte by byte, also such as no client sends."""

from collections.abc import Iterable

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


def goaway_codes(received: bytes) -> list[int]:
    """The error codes of the GOAWAY frames in what a client received."""
    codes, start = [], 0
    while start + FRAME_HEADER_BYTES <= len(received):
        size = int.from_bytes(received[start : start + 3], "big")
        payload = received[start + FRAME_HEADER_BYTES : start + FRAME_HEADER_BYTES + size]
        if received[start + 3] == GOAWAY and len(payload) >= 8:
            codes.append(int.from_bytes(payload[4:8], "big"))
        start += FRAME_HEADER_BYTES + size
    return codes
