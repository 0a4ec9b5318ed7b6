"""Which files of a folder are images."""

import os

__all__ = ["has_image_suffix", "is_image_file"]

SUFFIXES = frozenset(
    (".apng", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".webp")
)
_HEADER_BYTES = 18
# BMP starts with two letters only, so the size of its second header counts too.
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)


def is_image_file(path: str) -> bool:
    """Report whether a file is an image by its suffix, or else by its content."""
    return has_image_suffix(path) or _has_image_content(path)


def has_image_suffix(path: str) -> bool:
    """Report whether the name of a file ends like that of an image."""
    return os.path.splitext(path)[1].lower() in SUFFIXES  # noqa: PTH122 - for a million files


def _has_image_content(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - twice as fast, for a million files
            header = file.read(_HEADER_BYTES)
    except OSError:
        return False
    if header.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")):
        return True
    if header.startswith(b"RIFF"):
        return header[8:12] == b"WEBP"
    return header.startswith(b"BM") and int.from_bytes(header[14:18], "little") in _BMP_HEADERS
