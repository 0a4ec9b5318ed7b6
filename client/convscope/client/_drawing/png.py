"""Sheets as PNG files.

Pillow tries five filters on each row, which takes longer than the compression. The rows of a sheet
are mostly repeated, so that one filter compresses it as well.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["read_origin", "save_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # the filter: each row without the one above
_ORIGIN = b"Convscope image\0"  # the key of a text
_ORIGIN_START = len(_SIGNATURE) + 25 + 8  # behind the header
_LEVEL = 1  # higher ones take twice the time, and save a tenth of the bytes


def read_origin(path: Path) -> bytes | None:
    """Return the origin that a file was saved with, or None.

    Raises:
        OSError: The file can't be read.
    """
    with path.open("rb") as file:
        start = file.read(_ORIGIN_START + 128)
    size, kind = start[_ORIGIN_START - 8 : _ORIGIN_START - 4], start[_ORIGIN_START - 4 :]
    if not kind.startswith(b"tEXt" + _ORIGIN):
        return None
    return kind[4 + len(_ORIGIN) : 4 + int.from_bytes(size)]


def save_png(image: Image.Image, path: Path, origin: bytes) -> None:
    """Write an RGB image.

    Args:
        image: The image.
        path: The file.
        origin: Latin text about the image that it was made from, at most 79 characters.

    Raises:
        OSError: The file can't be written.
    """
    pixels = np.asarray(image.convert("RGB")).reshape(image.height, -1)  # uint8 [height, 3 width]
    rows = np.empty((image.height, 1 + pixels.shape[1]), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])  # modulo 256
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)
    text = (b"tEXt", _ORIGIN + origin)
    chunks = ((b"IHDR", header), text, (b"IDAT", zlib.compress(rows.data, _LEVEL)), (b"IEND", b""))
    with path.open("wb") as file:
        file.write(_SIGNATURE)
        for kind, content in chunks:
            checksum = zlib.crc32(content, zlib.crc32(kind))
            file.write(struct.pack(">I", len(content)) + kind + content)
            file.write(struct.pack(">I", checksum))
