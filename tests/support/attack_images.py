"""Images that are cheap to send and were expensive to decode, or could be.

Each is generated in a moment. `python -m bench.attacks --only exif,images --all` sends all of them.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
from PIL import Image

__all__ = ["ATTACKS", "LIMIT_BYTES", "MEGAPIXELS_16", "jpeg", "png", "riff", "vp8l_groups"]

LIMIT_BYTES = 16 * 2**20
# The largest image that the default limits allow.
MEGAPIXELS_16 = (4000, 4000)
ORIENTATION_6 = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


# JPEG


def segment(kind: int, body: bytes) -> bytes:
    """Build a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body


@cache
def jpeg(width: int = 64, height: int = 64, mode: str = "RGB", **options: object) -> bytes:
    """Encode a gray picture."""
    out = io.BytesIO()
    Image.new(mode, (width, height), 128 if mode == "L" else (90,) * len(mode)).save(
        out, "JPEG", **options
    )
    return out.getvalue()


def after_start(inserted: bytes, data: bytes | None = None) -> bytes:
    """Insert bytes before the first segment of a JPEG."""
    data = jpeg() if data is None else data
    return data[:2] + inserted + data[2:]


def in_scan(inserted: bytes, data: bytes | None = None) -> bytes:
    """Insert bytes into the coded data of a JPEG, at its end."""
    data = jpeg() if data is None else data
    return data[:-2] + inserted + data[-2:]


def segments(kind: int, body: bytes, size: int = LIMIT_BYTES - 4096) -> bytes:
    """Repeat a segment up to a size."""
    one = segment(kind, body)
    return one * (size // len(one))


def repeated_scans(data: bytes, scans: int) -> bytes:
    """Repeat the last scan of a progressive JPEG."""
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - data.count(b"\xff\xda")) + data[-2:]


def with_restarts(count: int) -> bytes:
    """Build a JPEG with many restart markers."""
    data = jpeg()
    interval = segment(0xDD, b"\0\1")
    scan = data.index(b"\xff\xda")
    markers = b"".join(bytes((0xFF, 0xD0 + number)) for number in range(8))
    return in_scan(markers * (count // 8), data[:scan] + interval + data[scan:])


def arithmetic() -> bytes:
    """Name arithmetic coding in the frame of a JPEG."""
    return jpeg(*MEGAPIXELS_16).replace(b"\xff\xc0\0\x11", b"\xff\xc9\0\x11", 1)


def sized(data: bytes, width: int, height: int) -> bytes:
    """Write another size into the frame of a JPEG."""
    frame = next(data.index(mark) for mark in (b"\xff\xc0\0", b"\xff\xc2\0") if mark in data)
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


# PNG


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """Build a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int,
    height: int,
    *,
    depth: int = 8,
    color: int = 6,
    interlaced: bool = False,
    before: Iterable[bytes] = (),
    filtering: int = 0,
    split: int = 2**30,
    stream: bytes | None = None,
) -> bytes:
    """Build a PNG of one color.

    Args:
        width: Its width in pixels.
        height: Its height in pixels.
        depth: Bits of a channel.
        color: Its color type, by the number of the specification.
        interlaced: Whether it is interlaced.
        before: Chunks before the pixels.
        filtering: The filter of each row.
        split: Bytes of the compressed pixels in each chunk.
        stream: The compressed pixels, if they are not of one color.
    """
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    if stream is None:
        stream = _pixels(width, height, depth * channels, interlaced, filtering)
    parts = [stream[start : start + split] for start in range(0, len(stream), split)]
    palette = [chunk(b"PLTE", bytes(range(192)))] if color == 3 else []
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            *before,
            *palette,
            *(chunk(b"IDAT", part) for part in parts),
            chunk(b"IEND"),
        )
    )


@cache
def _pixels(width: int, height: int, bits: int, interlaced: bool, filtering: int) -> bytes:
    packer = zlib.compressobj(1)
    passes = [(width, height)]
    if interlaced:
        steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
        steps += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        passes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in steps]
    out = b""
    for columns, rows in passes:
        row = bytes((filtering,)) + b"\x5a" * (-(-columns * bits // 8))
        out += b"".join(packer.compress(row * 100) for _ in range(rows // 100))
        out += packer.compress(row * (rows % 100))
    return out + packer.flush()


def empty_blocks(stream: bytes, block: str, size: int) -> bytes:
    """Insert blocks without any content into a zlib stream.

    Args:
        stream: The stream, at the beginning of whose blocks they are inserted.
        block: Their bits, in the order of the stream.
        size: About how many bytes they take.
    """
    stored = "000" + "0" * 5 + "0" * 16 + "1" * 16  # ends at a byte if it begins at one
    unit = block * 8 if block else stored
    bits = unit + "000" + "0" * (-(len(unit) + 3) % 8) + "0" * 16 + "1" * 16
    values = [int(bits[start : start + 8][::-1], 2) for start in range(0, len(bits), 8)]
    return stream[:2] + bytes(values) * (size // len(values)) + stream[2:]


def dynamic_block() -> str:
    """Return the bits of an empty block whose codes have the longest possible tables."""
    # Code lengths 1 to 15 for the literals, as the codes of a code of 5 bits.
    order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
    lengths = dict.fromkeys(range(16), 5) | {18: 1}  # Kraft: 16/32 + 1/2
    codes = {18: "0"} | {symbol: f"{16 + symbol:05b}" for symbol in range(16)}
    bits = "0" + "01" + f"{0:05b}" + f"{0:05b}"[::-1] + f"{15:04b}"[::-1]
    bits += "".join(f"{lengths.get(symbol, 0):03b}"[::-1] for symbol in order)
    literals = [*range(1, 16)]  # symbols 0 to 14
    bits += "".join(codes[length] for length in literals)
    rest = 256 - len(literals)
    while rest:
        zeros = min(rest, 138)
        bits += codes[18] + f"{zeros - 11:07b}"[::-1]
        rest -= zeros
    bits += codes[15]  # the end of the block, the last code of 15 bits
    bits += codes[1]  # one distance
    return bits + "1" * 15


# WebP


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Build a WebP of chunks."""
    body = b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)
        for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _canvas(width: int, height: int, flags: int) -> tuple[bytes, bytes]:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", struct.pack("<I", flags) + size


@cache
def webp(width: int, height: int, mode: str = "RGB", **options: object) -> bytes:
    """Encode a gray picture."""
    out = io.BytesIO()
    color = (90, 90, 90, 90)[: len(mode)]
    Image.new(mode, (width, height), color).save(out, "WEBP", method=0, **options)
    return out.getvalue()


def noise_webp(width: int, height: int) -> bytes:
    """Encode noise without loss."""
    out = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, method=0, quality=0)
    return out.getvalue()


def _content(data: bytes, kind: bytes) -> bytes:
    start = data.index(kind)
    (size,) = struct.unpack_from("<I", data, start + 4)
    return data[start + 8 : start + 8 + size]


def animation(width: int, height: int, frames: int) -> bytes:
    """Build an animated WebP whose frames have one pixel, on a large canvas."""
    pixels = _content(webp(2, 2), b"VP8 ")
    frame = bytes(6) + b"\1\0\0\1\0\0" + bytes(4)
    frame += b"VP8 " + struct.pack("<I", len(pixels)) + pixels + b"\0" * (len(pixels) & 1)
    return riff(_canvas(width, height, 2), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * frames)


def vp8l_groups(width: int, height: int, groups: int) -> bytes:
    """Build a lossless WebP with many groups of prefix codes, each of which takes a table."""
    bits: list[str] = []

    def put(value: int, count: int) -> None:
        bits.append(f"{value:0{count}b}"[::-1])

    def simple(symbol: int) -> None:
        put(1, 1)
        put(0, 1)
        put(1, 1)
        put(symbol, 8)

    def bytewise() -> None:
        """Write a code of 256 symbols of 8 bits each."""
        put(0, 1)
        put(8, 4)  # twelve lengths of code lengths
        for symbol in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8):
            put(1 if symbol in (8, 0) else 0, 3)
        put(0, 1)
        bits.append("1" * 256)  # each length is 8; 0 is the shorter code by its value

    put(0x2F, 8)
    put(width - 1, 14)
    put(height - 1, 14)
    put(0, 4)  # no alpha; version 0
    put(0, 1)  # no transform
    put(0, 1)  # no color cache
    put(1, 1)  # several groups
    put(0, 3)  # of 4 x 4 pixels
    columns, rows = -(-width // 4), -(-height // 4)
    put(0, 1)  # no color cache of the groups' image
    # Green and red have the number of the group. Green also has codes of lengths: 280 symbols.
    put(0, 1)
    put(8, 4)
    for symbol in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8):
        put(1 if symbol in (8, 0) else 0, 3)
    put(0, 1)
    bits.append("1" * 256 + "0" * 24)
    bytewise()
    simple(0)
    simple(0)
    simple(0)
    body = [f"{number:08b}" for number in range(256)]
    numbers = [min(number, groups - 1) for number in range(columns * rows)]
    bits.extend(body[number & 255] + body[number >> 8] for number in numbers)
    # Codes of one symbol, which takes no bit of the pixels.
    bits.append("1000" * 5 * groups)
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    content = np.packbits(np.frombuffer(stream.encode(), np.uint8) - 48, bitorder="little")
    return riff((b"VP8L", content.tobytes() + bytes(8)))


# GIF


@cache
def gif(width: int = 64, height: int = 64) -> bytes:
    """Encode a gray picture."""
    out = io.BytesIO()
    Image.new("P", (width, height), 3).save(out, "GIF")
    return out.getvalue()


def before_frame(inserted: bytes, data: bytes | None = None) -> bytes:
    """Insert extensions before the first frame of a GIF."""
    data = gif() if data is None else data
    start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    return data[:start] + inserted + data[start:]


def clear_codes(width: int, height: int, size: int) -> bytes:
    """Build a GIF whose pixels begin with many codes that reset the decoder."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<4HB", 0, 0, width, height, 0) + b"\2"
    block = b"\xff" + bytes([0b00100100, 0b01001001, 0b10010010] * 85)  # the code 4, in 3 bits
    return head + frame + block * (size // len(block)) + b"\0;"


# BMP


def run_length(width: int, height: int, body: bytes, bits: int = 8) -> bytes:
    """Build a BMP with run-length encoding."""
    head = struct.pack(
        *("<IiiHHIIiiII", 40, width, height, 1, bits, 2 if bits == 4 else 1, len(body)),
        *(0, 0, 1 << bits, 0),
    )
    palette = bytes((7, 8, 9, 0)) * (1 << bits)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + palette + body


_PROFILE = b"Exif\0\0" + ORIENTATION_6
_FULL = 65_000
ATTACKS: dict[str, Callable[[], bytes]] = {
    "JPEG, 1 MB of Exif segments": lambda: after_start(
        segments(0xE1, _PROFILE + bytes(_FULL), 2**20)
    ),
    "JPEG, 2 MB of Exif segments": lambda: after_start(
        segments(0xE1, _PROFILE + bytes(_FULL), 2 * 2**20)
    ),
    "JPEG, 16 MB of Exif segments": lambda: after_start(segments(0xE1, _PROFILE + bytes(_FULL))),
    "JPEG, Exif segments of 4 KB": lambda: after_start(segments(0xE1, _PROFILE + bytes(4100))),
    "JPEG, 1 MB of small Exif segments": lambda: after_start(segments(0xE1, _PROFILE, 2**20)),
    "JPEG, 16 MB of small Exif segments": lambda: after_start(segments(0xE1, _PROFILE)),
    "JPEG, 8 MB of fill bytes": lambda: after_start(b"\xff" * 2**23),
    "JPEG, fill bytes in the scan": lambda: in_scan(b"\xff" * (LIMIT_BYTES - 4096)),
    "JPEG, stuffed bytes in the scan": lambda: in_scan(b"\xff\0" * (2**23 - 4096)),
    "JPEG, stuffed bytes and two ends": lambda: in_scan(b"\xff\0" * (2**23 - 4096)) + b"\xff\xd9",
    "JPEG, ICC segments": lambda: after_start(
        segments(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(_FULL))
    ),
    "JPEG, small ICC segments": lambda: after_start(segments(0xE2, b"ICC_PROFILE\0\1\xff", 2**23)),
    "JPEG, comments": lambda: after_start(segments(0xFE, b"", 2**23)),
    "JPEG, Photoshop resources": lambda: after_start(
        segments(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000)
    ),
    "JPEG, quantization tables": lambda: after_start(
        segments(0xDB, (b"\0" + bytes(range(1, 65))) * 1000)
    ),
    "JPEG, comments between scans": lambda: in_scan(segments(0xFE, b"", 2**23)),
    "JPEG, 65 scans": lambda: repeated_scans(jpeg(64, 64, progressive=True), 65),
    "JPEG, 64 scans of 6 megapixels": lambda: repeated_scans(
        jpeg(2500, 2500, progressive=True, subsampling=0), 64
    ),
    "JPEG, 64 scans of 16 megapixels": lambda: repeated_scans(
        jpeg(*MEGAPIXELS_16, progressive=True, subsampling=0), 64
    ),
    "JPEG, 24 scans of 16 megapixels": lambda: repeated_scans(
        jpeg(*MEGAPIXELS_16, progressive=True), 24
    ),
    "JPEG, restart markers": lambda: with_restarts(2**23 - 4096),
    "JPEG, arithmetic coding": arithmetic,
    "JPEG, progressive CMYK of 16 megapixels": lambda: sized(
        jpeg(mode="CMYK", progressive=True), *MEGAPIXELS_16
    ),
    "JPEG, tiny data for 16 megapixels": lambda: sized(jpeg(), *MEGAPIXELS_16),
    "PNG, RGBA of 16 megapixels": lambda: png(*MEGAPIXELS_16),
    "PNG, RGBA of 16 bits, Paeth filter": lambda: png(*MEGAPIXELS_16, depth=16, filtering=4),
    "PNG, interlaced, 16 bits": lambda: png(*MEGAPIXELS_16, depth=16, interlaced=True),
    "PNG, gray of 16 bits": lambda: png(*MEGAPIXELS_16, depth=16, color=0),
    "PNG, empty chunks": lambda: png(64, 64, before=[chunk(b"teSt") * 1_300_000]),
    "PNG, one byte of pixels per chunk": lambda: png(
        2000, 2000, split=1, stream=zlib.compress(np.random.default_rng(1).bytes(1_200_000), 1)
    ),
    "PNG, text bombs": lambda: png(64, 64, before=[_bomb(b"zTXt", b"k\0\0")] * 7),
    "PNG, profile bombs": lambda: png(64, 64, before=[_bomb(b"iCCP", b"k\0\0")] * 15),
    "PNG, XMP bomb": lambda: png(
        64, 64, before=[_bomb(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0")] * 15
    ),
    "PNG, empty stored blocks": lambda: png(
        64, 64, stream=empty_blocks(_pixels(64, 64, 32, False, 0), "", 8_000_000)
    ),
    "PNG, empty dynamic blocks": lambda: png(
        *MEGAPIXELS_16,
        stream=empty_blocks(_pixels(*MEGAPIXELS_16, 32, False, 0), dynamic_block(), 16_000_000),
    ),
    "PNG, large palette": lambda: png(64, 64, color=3, before=[chunk(b"PLTE", bytes(15_000_000))]),
    "PNG, frames of an animation": lambda: png(
        *(64, 64),
        before=[
            chunk(b"acTL", struct.pack(">II", 9000, 0)),
            *[chunk(b"fdAT", bytes(1600))] * 9000,
        ],
    ),
    "WebP, lossy of 16 megapixels": lambda: webp(*MEGAPIXELS_16),
    "WebP, lossy RGBA of 16 megapixels": lambda: webp(*MEGAPIXELS_16, "RGBA"),
    "WebP, lossless of 16 megapixels": lambda: webp(*MEGAPIXELS_16, lossless=True),
    "WebP, lossless of 9 megapixels": lambda: webp(3000, 3000, lossless=True),
    "WebP, lossless noise": lambda: noise_webp(1000, 1000),
    "WebP, animation of 16 megapixels": lambda: animation(*MEGAPIXELS_16, 2),
    "WebP, 100,000 frames": lambda: animation(*MEGAPIXELS_16, 100_000),
    "WebP, empty chunks": lambda: riff(
        _canvas(64, 64, 0),
        *[(b"teSt", b"")] * 1_000_000,
        (b"VP8 ", _content(webp(64, 64), b"VP8 ")),
    ),
    "WebP, 16 MB of XMP": lambda: riff(
        _canvas(64, 64, 4),
        (b"VP8 ", _content(webp(64, 64), b"VP8 ")),
        (b"XMP ", b"tiff:Orientation" * 1_000_000),
    ),
    "WebP, 65,536 groups of codes": lambda: vp8l_groups(1024, 1024, 65_536),
    "GIF, extensions": lambda: before_frame(b"!\xfe\0" * 2_700_000),
    "GIF, a comment of small blocks": lambda: before_frame(b"!\xfe" + b"\1a" * 2**22 + b"\0"),
    "GIF, a comment of large blocks": lambda: before_frame(
        b"!\xfe" + (b"\xff" + b"a" * 255) * 65_000 + b"\0"
    ),
    "GIF, clear codes": lambda: clear_codes(*MEGAPIXELS_16, LIMIT_BYTES - 4096),
    "GIF, 16 megapixels": lambda: gif(*MEGAPIXELS_16),
    "GIF, one pixel on 16 megapixels": lambda: (
        gif(1, 1)[:6] + struct.pack("<HH", *MEGAPIXELS_16) + gif(1, 1)[10:]
    ),
    "BMP, short runs": lambda: run_length(*MEGAPIXELS_16, b"\1\1" * (2**23 - 4096)),
    "BMP, empty lines": lambda: run_length(*MEGAPIXELS_16, b"\1\1\0\0" * 4000 + b"\0\1"),
    "BMP, 4 bits": lambda: run_length(*MEGAPIXELS_16, b"\xff\x12" * 70_000, bits=4),
    "BMP, runs of 1 megapixel": lambda: run_length(1000, 1000, b"\1\1" * 499_000),
}


def _bomb(kind: bytes, head: bytes) -> bytes:
    """Build a chunk with a gigabyte of compressed zeros in one megabyte."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return chunk(kind, head + b"\x78\xda" + block * 1000 + b"\3\0")
