"""Small encoded images, generated for the tests."""

import io
import struct
import zlib
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

EXIF_ORIENTATIONS = range(1, 9)


def picture(width: int = 120, height: int = 80, seed: int = 0) -> Image.Image:
    """Draw a smooth RGB picture with four different corners."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = 20 * np.sin(7 * x + 5 * y + seed)
    planes = [255 * x, 255 * y, 255 * (1 - x) * (1 - y)]
    pixels = np.stack([np.clip(plane + waves, 0, 255) for plane in planes], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """Encode an image as a file."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def with_orientation(image: Image.Image, orientation: int, format: str = "JPEG") -> bytes:
    """Encode an image with an EXIF orientation."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options: dict[str, object] = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    return encode(image, format, exif=exif, **options)


def grey16(values: NDArray[np.uint16]) -> bytes:
    """Encode 16-bit gray values as PNG."""
    return encode(Image.fromarray(values))


@cache
def png_bomb(side: int = 20_000) -> bytes:
    """Make a valid PNG of side x side one-bit pixels in about 50 kB."""
    row = b"\0" + bytes((side + 7) // 8)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def solid_png(width: int, height: int) -> bytes:
    """Make an RGB PNG of one color, also a large one within a second."""
    packer = zlib.compressobj(1)
    row = b"\0" + bytes((90, 20, 200)) * width
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def scan_bomb(scans: int, side: int = 64) -> bytes:
    """Make a progressive JPEG that repeats its last scan many times."""
    data = encode(picture(side, side), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    last = data[start:-2]
    return data[:start] + last * (scans - data.count(b"\xff\xda") + 1) + data[-2:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + check
