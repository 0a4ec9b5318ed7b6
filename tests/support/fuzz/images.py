"""Mutants of images in every format, made of the parts of valid ones.

Random bytes hardly get past the first check of a decoder. So a mutation works on the
parts of a file (segments, chunks, blocks), changes sizes in headers, and corrects
lengths and checksums afterwards, mostly.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from random import Random

from support.damage import kinds_of_images
from support.fuzz.values import INTEGERS, damage_bytes

__all__ = ["ImageMutants"]

MAX_BYTES = 2_000_000

Parts = list[bytes]

_MARKERS = bytes(
    (0xC0, 0xC1, 0xC2, 0xC4, 0xC9, 0xCC, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE)
)
_CHUNKS = (
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"iCCP", b"zTXt", b"tEXt", b"iTXt"),
    *(b"eXIf", b"acTL", b"fcTL", b"fdAT", b"CgBI", b"quux", b"QUUX"),
)
_RIFF_CHUNKS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")


class ImageMutants:
    """Makes mutants of a few valid images."""

    def __init__(self) -> None:
        self._images = kinds_of_images()
        self._parts = {name: _split(data) for name, data in self._images.items()}

    def __call__(self, random: Random) -> bytes:
        """Return a mutant."""
        name = random.choice(list(self._images))
        if random.random() < 0.25:
            return damage_bytes(self._images[name], random)[:MAX_BYTES]
        parts = list(self._parts[name])
        for _ in range(random.choice((1, 1, 2, 4))):
            self._mutate(parts, random)
        sealed = parts if random.random() < 0.2 else _sealed(parts)
        return b"".join(sealed)[:MAX_BYTES]

    def _mutate(self, parts: Parts, random: Random) -> None:
        if not parts:
            return
        at = random.randrange(len(parts))
        match random.randrange(8):
            case 0:
                del parts[at]
            case 1:
                parts[at:at] = [parts[at]] * random.choice((1, 2, 20, 1000))
            case 2:
                other = random.randrange(len(parts))
                parts[at], parts[other] = parts[other], parts[at]
            case 3:
                parts[at] = parts[at][: random.randrange(len(parts[at]) + 1)]
            case 4:
                foreign = random.choice(list(self._parts.values()))
                parts.insert(at, random.choice(foreign))
            case 5:
                new = random.choice((_segment, _chunk, _riff_chunk, _extension))(random)
                parts[at:at] = [new] * random.choice((1, 1, 3, 500))
            case 6:
                parts[at] = _changed_header(parts[at], random)
            case _:
                parts[at] = damage_bytes(parts[at], random)


def _changed_header(part: bytes, random: Random) -> bytes:
    """Write an interesting number among the first bytes of a part, where sizes are."""
    out = bytearray(part)
    order, (letter, size) = random.choice("<>"), random.choice((("B", 1), ("H", 2), ("I", 4)))
    if len(out) >= size:
        at = random.randrange(min(len(out) - size + 1, 40))
        struct.pack_into(order + letter, out, at, random.choice(INTEGERS) % 2 ** (8 * size))
    return bytes(out)


# New parts


def _body(random: Random) -> bytes:
    size = random.choice((0, 1, 4, 13, 100, 10_000, 65_533))
    kind = random.randrange(4)
    if kind == 0:
        return random.randbytes(size)
    if kind == 1:
        return b"Exif\0\0" + random.choice((b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08")) + bytes(size)
    if kind == 2:  # it inflates to much more
        return b"name\0\0" + zlib.compress(bytes(size * random.choice((1, 100))))
    return bytes(size)


def _segment(random: Random) -> bytes:
    body = _body(random)[:65_533]
    fill = b"\xff" * random.choice((0, 0, 1, 5000))
    return fill + b"\xff" + bytes([random.choice(_MARKERS)]) + _word(len(body) + 2) + body


def _chunk(random: Random) -> bytes:
    body = _body(random)
    return struct.pack(">I", len(body)) + random.choice(_CHUNKS) + body + bytes(4)


def _riff_chunk(random: Random) -> bytes:
    body = _body(random)
    return random.choice(_RIFF_CHUNKS) + struct.pack("<I", len(body)) + body


def _extension(random: Random) -> bytes:
    """Make an extension of a GIF, or many empty blocks."""
    body = _body(random)[:255]
    kind = bytes([random.choice((0xF9, 0xFE, 0xFF, 0x01))])
    return b"\x21" + kind + bytes([len(body)]) + body + b"\0" * random.choice((1, 1, 1000))


def _word(value: int) -> bytes:
    return struct.pack(">H", value)


# Parts of files


def _split(data: bytes) -> Parts:
    for signature, split in _SPLITTERS.items():
        if data.startswith(signature):
            parts = list(split(data))
            assert b"".join(parts) == data
            return parts
    raise ValueError(f"unknown format: {data[:8]!r}")


def _split_jpeg(data: bytes) -> Iterator[bytes]:
    start, at = 0, 2
    yield data[:2]
    start = at
    while at < len(data):
        marker = data[at + 1]
        at += 2
        if marker != 0xD9 and not 0xD0 <= marker <= 0xD7:
            at += struct.unpack_from(">H", data, at)[0]
        if marker == 0xDA:  # the scan reaches to the next marker
            while data[at] != 0xFF or data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7:
                at += 1
        yield data[start:at]
        start = at


def _split_png(data: bytes) -> Iterator[bytes]:
    yield data[:8]
    at = 8
    while at < len(data):
        end = at + 12 + struct.unpack_from(">I", data, at)[0]
        yield data[at:end]
        at = end


def _split_riff(data: bytes) -> Iterator[bytes]:
    yield data[:12]
    at = 12
    while at < len(data):
        size = struct.unpack_from("<I", data, at + 4)[0]
        end = at + 8 + size + size % 2
        yield data[at:end]
        at = end


def _split_gif(data: bytes) -> Iterator[bytes]:
    at = 13 + _colors(data[10])
    yield data[:at]
    while at < len(data):
        start = at
        if data[at] == 0x2C:
            at += 10 + _colors(data[at + 9]) + 1
        elif data[at] == 0x21:
            at += 2
        else:
            yield data[at:]
            return
        while data[at]:
            at += 1 + data[at]
        at += 1
        yield data[start:at]


def _colors(flags: int) -> int:
    """Return the bytes of a GIF's color table."""
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _split_bmp(data: bytes) -> Iterator[bytes]:
    pixels, size = struct.unpack_from("<I4xI", data, 10)[0], struct.unpack_from("<I", data, 14)[0]
    yield from (data[:14], data[14 : 14 + size], data[14 + size : pixels], data[pixels:])


_SPLITTERS: Mapping[bytes, Callable[[bytes], Iterator[bytes]]] = {
    b"\xff\xd8": _split_jpeg,
    b"\x89PNG": _split_png,
    b"RIFF": _split_riff,
    b"GIF8": _split_gif,
    b"BM": _split_bmp,
}


def _sealed(parts: Parts) -> Parts:
    """Correct the lengths and checksums, so that a decoder goes on to the content."""
    if parts and parts[0].startswith(b"\x89PNG"):
        return [parts[0], *map(_sealed_chunk, parts[1:])]
    if parts and parts[0].startswith(b"RIFF") and len(parts[0]) == 12:
        size = min(sum(map(len, parts)) - 8, 2**32 - 1)
        return [b"RIFF" + struct.pack("<I", size) + parts[0][8:], *parts[1:]]
    return parts


def _sealed_chunk(part: bytes) -> bytes:
    if len(part) < 12:
        return part
    kind, body = part[4:8], part[8:-4]
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
