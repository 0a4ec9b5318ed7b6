"""Decodes WebP through the libwebp that Pillow contains, in a third of Pillow's memory.

Pillow decodes every WebP as an animation: libwebp keeps two canvases, and Pillow copies one
of them twice, 16 bytes for each pixel. Here, libwebp decodes the first frame to the memory
of the image. It also states why it fails, so that too little memory isn't taken for damage.
"""

import ctypes
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image

from convscope.server.inference.decoding.structure.stream import Frame, Stream

__all__ = ["decode_webp", "working_bytes"]

_ABI_VERSION = 0x0209  # only its first byte must be that of the library
_MODE_RGBA = 1
_OK, _OUT_OF_MEMORY = 0, 1
# Memory of libwebp for one pixel, beyond the image: a lossless image is decoded to a copy,
# and so is the alpha channel of a lossy one. The rest of a lossy image needs a few rows.
_LOSSLESS_BYTES, _ALPHA_BYTES = 4, 5
_PILLOW_BYTES = 12


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


def working_bytes(*, is_lossless: bool, has_alpha: bool) -> int:
    """Return the memory for one pixel that decoding takes beyond the image."""
    if _library() is None:
        return _PILLOW_BYTES
    if is_lossless:
        return _LOSSLESS_BYTES
    return _ALPHA_BYTES if has_alpha else 0


def decode_webp(stream: Stream, size: tuple[int, int]) -> Image.Image:
    """Decode the first frame of a WebP.

    Args:
        stream: The file, whose structure was checked.
        size: The width and height of its canvas.

    Returns:
        An image in mode RGBA if it has transparent pixels, and RGBX otherwise.

    Raises:
        MemoryError: There is no memory.
        ValueError: It is damaged.
    """
    library = _library()
    if library is None:
        image = Image.open(BytesIO(stream.data), formats=("WEBP",))
        image.load()
        return image
    width, height = size
    pixels = np.zeros((height, width, 4), np.uint8)
    frame = stream.frame or Frame(0, 0, width, height)
    config = _Config()
    if not library.WebPInitDecoderConfigInternal(ctypes.byref(config), _ABI_VERSION):
        raise ValueError("libwebp has another version")
    first = (frame.top * width + frame.left) * 4
    config.output.colorspace = _MODE_RGBA
    config.output.is_external_memory = 1
    config.output.rgba.pixels = pixels.ctypes.data + first
    config.output.rgba.stride = width * 4
    config.output.rgba.size = pixels.nbytes - first
    start, end = stream.part
    encoded = np.frombuffer(stream.data, np.uint8, end - start, start)
    status = library.WebPDecode(encoded.ctypes.data, encoded.size, ctypes.byref(config))
    if status == _OUT_OF_MEMORY:
        raise MemoryError
    if status != _OK:
        raise ValueError("libwebp rejects the image")
    mode = "RGBA" if stream.has_alpha else "RGBX"
    return Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1)


@cache
def _library() -> ctypes.CDLL | None:
    """Return libwebp; None if Pillow's build doesn't show its functions."""
    try:
        from PIL import _webp

        # A symbol is searched in the library and in those that it was linked with.
        library = ctypes.CDLL(_webp.__file__)
        library.WebPInitDecoderConfigInternal.argtypes = (ctypes.c_void_p, ctypes.c_int)
        library.WebPDecode.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    except (ImportError, OSError, AttributeError):
        return None
    return library
