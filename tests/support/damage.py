"""Encoded images of every kind, and damage to them."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from support.images import encode, grey16, picture, with_orientation

__all__ = ["chunk", "cuts", "idat_of", "kinds_of_images", "rle_bmp", "textured"]


def textured(width: int = 120, height: int = 80) -> Image.Image:
    """Draw a picture whose every part has detail, so that lost parts show."""
    noise = np.random.default_rng(5).integers(-30, 31, (height, width, 3))
    pixels = np.asarray(picture(width, height)).astype(int) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def kinds_of_images() -> dict[str, bytes]:
    """Encode a picture in every supported format, in several of its variants."""
    image = textured()
    palette, gray = image.quantize(32), image.convert("L")
    clear = image.convert("RGBA")
    clear.putalpha(gray)
    return {
        "JPEG": encode(image, "JPEG"),
        "JPEG progressive": encode(image, "JPEG", progressive=True),
        "JPEG gray": encode(gray, "JPEG"),
        "JPEG CMYK": encode(image.convert("CMYK"), "JPEG"),
        "JPEG with restarts": encode(image, "JPEG", restart_marker_rows=1),
        "JPEG turned": with_orientation(image, 6),
        "PNG": encode(image),
        "PNG RGBA": encode(clear),
        "PNG LA": encode(clear.convert("LA")),
        "PNG palette": encode(palette, transparency=3),
        "PNG 1 bit": encode(image.convert("1")),
        "PNG 16 bits": grey16(np.asarray(gray).astype(np.uint16) * 257),
        "PNG turned": with_orientation(image, 8, "PNG"),
        "APNG": encode(image, save_all=True, append_images=[image.rotate(180)]),
        "WebP": encode(image, "WEBP"),
        "WebP lossless": encode(image, "WEBP", lossless=True),
        "WebP RGBA": encode(clear, "WEBP"),
        "WebP turned": with_orientation(image, 5, "WEBP"),
        "GIF": encode(palette, "GIF"),
        "GIF transparent": encode(palette, "GIF", transparency=3),
        "GIF interlaced": encode(palette, "GIF", interlace=1),
        "BMP": encode(image, "BMP"),
        "BMP palette": encode(palette, "BMP"),
        "BMP 1 bit": encode(image.convert("1"), "BMP"),
        "BMP RLE": rle_bmp(palette),
    }


def rle_bmp(palette: Image.Image) -> bytes:
    """Encode a palette image as run-length encoded BMP, which Pillow can't write."""
    plain = encode(palette, "BMP")
    (start,) = struct.unpack_from("<I", plain, 10)
    rows = np.asarray(palette)[::-1]  # uint8 [H, W], from bottom to top
    body = (
        b"".join(b"".join(bytes((1, value)) for value in row) + b"\0\0" for row in rows) + b"\0\1"
    )
    head = bytearray(plain[:start])
    struct.pack_into("<I", head, 30, 1)  # the compression
    struct.pack_into("<I", head, 34, len(body))
    return bytes(head) + body


def chunk(kind: bytes, body: bytes) -> bytes:
    """Build a PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def idat_of(png: bytes) -> tuple[int, int]:
    """Return where the content of a PNG's first pixel chunk begins and ends."""
    position = png.index(b"IDAT")
    (length,) = struct.unpack_from(">I", png, position - 4)
    return position + 4, position + 4 + length


def cuts(data: bytes, count: int) -> Iterator[bytes]:
    """Cut a file at many lengths, among them every one near its end."""
    lengths = {*range(0, len(data), max(len(data) // count, 1)), *range(len(data) - 30, len(data))}
    return (data[:length] for length in sorted(lengths) if length >= 0)
