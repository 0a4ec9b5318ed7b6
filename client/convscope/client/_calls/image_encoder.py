"""Images as inputs of a request, shrunk if they exceed the server's limits."""

import logging
import time
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import TypeAlias, get_args

import numpy as np
from PIL import Image

from convscope.client._calls.options import Selector
from convscope.client._calls.requests import EncodedImage, RequestTemplate, encode_image
from convscope.client._inputs.arguments import Oversize
from convscope.client._inputs.checks import CheckedMetadata
from convscope.client._inputs.images import read_image
from convscope.client._inputs.limits import (
    Excess,
    default_limits,
    excess_of_file,
    excess_of_pixels,
)
from convscope.client._inputs.shrinking import shrink
from convscope.client._inputs.sources import is_file, resolve_source
from convscope.client._results.sent_image import SentImage
from convscope.client._results.source import Source, image_name
from convscope.client.errors import ConvscopeError, InvalidInputError, PermissionDeniedError
from convscope.client.types import ImageLike, ModelInfo, Resize, Tensor

__all__ = ["Describe", "ImageEncoder"]

Describe: TypeAlias = Callable[[Selector, CheckedMetadata], ModelInfo]
"""Asks the server about a model, and blocks."""

log = logging.getLogger("convscope.client")

# An alias may point to another version by then.
_DESCRIPTION_SECONDS = 60.0


class ImageEncoder:
    """Encodes images. Safe to call from several threads.

    Args:
        oversize: Whether images beyond the limits are shrunk.
        describe: Asks about the model, but only for an image that must be shrunk.

    Raises:
        InvalidInputError: `oversize` is neither "shrink" nor "error".
    """

    def __init__(self, oversize: Oversize, describe: Describe) -> None:
        if oversize not in get_args(Oversize):
            raise InvalidInputError(f"oversize is {oversize!r}; there are: 'shrink', 'error'")
        self._shrinks = oversize == "shrink"
        self._describe = describe
        self._limits = default_limits()
        self._resizes: dict[Selector, tuple[float, Resize | None]] = {}
        self._lock = Lock()

    def is_slow(self, image: ImageLike) -> bool:
        """Report whether encoding an image, by reading or converting it, may block for long."""
        if isinstance(image, str | PathLike | Image.Image) or is_file(image):
            return True
        return self._shrinks and self._excess(image) is not None

    def encode(
        self,
        template: RequestTemplate,
        image: ImageLike,
        metadata: CheckedMetadata,
        *,
        keeps_image: bool,
    ) -> EncodedImage:
        """Encode an image for a request.

        Args:
            template: The request.
            image: The image.
            metadata: That of the call.
            keeps_image: Whether the result refers to an image in memory, too.

        Raises:
            InvalidInputError: The image can't be sent.
            ConvscopeError: The image must be shrunk, and the server doesn't describe the model.
        """
        name = image_name(image)
        try:
            encoded = self._encode(template, image, metadata)
        except ConvscopeError as error:
            error.image = name
            raise
        encoded.sent.name = name
        if keeps_image or isinstance(image, str | PathLike):
            encoded.sent.source = Source(image)
        return encoded

    def _encode(
        self, template: RequestTemplate, image: ImageLike, metadata: CheckedMetadata
    ) -> EncodedImage:
        if not self._shrinks or isinstance(image, Tensor):
            return encode_image(template, image)
        content = resolve_source(image)
        if isinstance(content, Path):
            path = content
            if (size_bytes := _file_bytes(path)) > self._limits.max_request_bytes:
                return self._shrink(template, path, metadata, self._too_many(size_bytes))
            content = read_image(path)
        excess = self._excess(content)
        if excess is not None:
            return self._shrink(template, content, metadata, excess)
        return encode_image(template, content)

    def _excess(self, image: ImageLike) -> Excess | None:
        limits = self._limits
        match image:
            case bytes() | bytearray() | memoryview():
                if len(image) > limits.max_request_bytes:
                    return self._too_many(len(image))
                return excess_of_file(bytes(image), limits)
            case Image.Image():
                width, height = image.size
                channels = 1 if image.mode in ("1", "L") else len(image.getbands())
                return excess_of_pixels(width, height, width * height * channels, limits)
            case np.ndarray() if image.dtype == np.uint8 and image.ndim in (2, 3):
                return excess_of_pixels(image.shape[1], image.shape[0], image.nbytes, limits)
            case _:
                return None

    def _too_many(self, size_bytes: int) -> Excess:
        return Excess(
            f"the image has {size_bytes:,} bytes; the limit of a request is "
            f"{self._limits.max_request_bytes:,}"
        )

    def _shrink(
        self,
        template: RequestTemplate,
        image: ImageLike,
        metadata: CheckedMetadata,
        excess: Excess,
    ) -> EncodedImage:
        resize = self._resize(template.selector, metadata)
        shrunk = shrink(image, resize, self._limits)
        log.debug(
            "shrank %s from %d x %d to %d x %d pixels: %s",
            image_name(image) or "an image",
            *shrunk.size,
            *shrunk.sent_size,
            excess.message,
        )
        encoded = encode_image(template, shrunk.image)
        return EncodedImage(encoded.field, SentImage(size=shrunk.size, sent_size=shrunk.sent_size))

    def _resize(self, selector: Selector, metadata: CheckedMetadata) -> Resize | None:
        """Return how the server resizes images for a model; None if it doesn't say."""
        with self._lock:
            known = self._resizes.get(selector)
        if known is not None and time.monotonic() - known[0] < _DESCRIPTION_SECONDS:
            return known[1]
        try:
            resize = self._describe(selector, metadata).resize
        except PermissionDeniedError:  # a caller may be allowed to classify only
            resize = None
        with self._lock:
            self._resizes[selector] = time.monotonic(), resize
        return resize


def _file_bytes(path: Path) -> int:
    """Return the size of a file; 0 if it can't be found, which reading it explains."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0
