"""Calls the function of libwebp that decodes an image to given memory.

It imports nothing but the standard library, so that a process which only decodes is small.
"""

import ctypes
from dataclasses import dataclass

__all__ = ["INVALID_VERSION", "OK", "OUT_OF_MEMORY", "Layout", "decode_into", "open_library"]

_ABI_VERSION = 0x0209  # only its first byte must be that of the library
_MODE_RGBA = 1
# The library's own status codes, and one of ours.
OK, OUT_OF_MEMORY, INVALID_VERSION = 0, 1, 100


class _Rgba(ctypes.Structure):
    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("stride", ctypes.c_int),
        ("size", ctypes.c_size_t),
        ("unused", ctypes.c_uint8 * 56),  # the union's other member is larger
    )


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("colorspace", ctypes.c_int),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("is_external_memory", ctypes.c_int),
        ("rgba", _Rgba),
        ("padding", ctypes.c_uint32 * 4),
        ("private_memory", ctypes.c_void_p),
    )


class _Config(ctypes.Structure):
    """WebPDecoderConfig: the features of the image, the output, the options."""

    _fields_ = (
        ("input", ctypes.c_uint32 * 10),
        ("output", _Buffer),
        ("options", ctypes.c_uint32 * 19),
        ("reserve", ctypes.c_uint8 * 256),
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the decoded pixels belong, four bytes each.

    Args:
        width: The width of the canvas in pixels.
        height: Its height.
        left: The first column of the image on it.
        top: The first row of the image on it.
    """

    width: int
    height: int
    left: int = 0
    top: int = 0

    @property
    def size_bytes(self) -> int:
        """The bytes of the canvas."""
        return self.width * self.height * 4


def open_library(extension: str) -> ctypes.CDLL:
    """Open libwebp.

    Args:
        extension: The path of a library that was linked with it, in which a symbol is then found.

    Raises:
        OSError: The file is not a library.
        AttributeError: It doesn't have the functions, or doesn't show them.
    """
    library = ctypes.CDLL(extension)
    library.WebPInitDecoderConfigInternal.argtypes = (ctypes.c_void_p, ctypes.c_int)
    library.WebPDecode.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    return library


def decode_into(
    library: ctypes.CDLL, encoded: int, encoded_bytes: int, canvas: int, layout: Layout
) -> int:
    """Decode an image onto a canvas; return the status code.

    The caller has checked that the image lies within the canvas; libwebp checks it, too.

    Args:
        library: libwebp.
        encoded: The address of the image: its chunk of pixels, after the one with its alpha
            channel if it has any.
        encoded_bytes: Its size.
        canvas: The address of the canvas.
        layout: Where the image belongs on the canvas.
    """
    config = _Config()
    if not library.WebPInitDecoderConfigInternal(ctypes.byref(config), _ABI_VERSION):
        return INVALID_VERSION
    first = (layout.top * layout.width + layout.left) * 4
    config.output.colorspace = _MODE_RGBA
    config.output.is_external_memory = 1
    config.output.rgba.pixels = canvas + first
    config.output.rgba.stride = layout.width * 4
    config.output.rgba.size = layout.size_bytes - first
    return int(library.WebPDecode(encoded, encoded_bytes, ctypes.byref(config)))
