"""Images as inputs of a request, shrunk if they exceed the server's limits."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeAlias, get_args

from PIL import Image

from convscope.client._calls.learned_limits import AskLimits, LearnedLimits
from convscope.client._calls.options import Selector
from convscope.client._calls.requests import EncodedImage, RequestTemplate, encode_image
from convscope.client._inputs.arguments import Oversize
from convscope.client._inputs.checks import CheckedMetadata
from convscope.client._inputs.images import read_image
from convscope.client._inputs.limits import (
    LARGE_BYTES,
    Excess,
    excess_of,
    is_large,
    too_many_bytes,
)
from convscope.client._inputs.shrinking import resize_of, shrink
from convscope.client._inputs.sources import is_file, is_path, resolve_source
from convscope.client._results.sent_image import SentImage
from convscope.client._results.server_info import ServerLimits
from convscope.client._results.source import Source, image_name
from convscope.client.errors import ConvscopeError, InvalidInputError, PermissionDeniedError
from convscope.client.types import ImageLike, ModelInfo, Resize

__all__ = ["Describe", "ImageEncoder"]

Describe: TypeAlias = Callable[[Selector, CheckedMetadata], ModelInfo]
"""Asks the server about a model, and blocks."""

log = logging.getLogger("convscope.client")

# An alias may point to another version by then.
_DESCRIPTION_SECONDS = 60.0
_DEFAULT_LIMITS = ServerLimits()


class ImageEncoder:
    """Encodes images. Safe to call from several threads.

    Args:
        oversize: Whether images beyond the limits are shrunk.
        describe: Asks about the model, but only for an image that must be shrunk.
        ask_limits: Asks for the server's limits, but only for a large image.

    Raises:
        InvalidInputError: `oversize` is neither "shrink" nor "error".
    """

    def __init__(self, oversize: Oversize, describe: Describe, ask_limits: AskLimits) -> None:
        if oversize not in get_args(Oversize):
            raise InvalidInputError(f"oversize is {oversize!r}; there are: 'shrink', 'error'")
        self._shrinks = oversize == "shrink"
        self._describe = describe
        self._limits = LearnedLimits(ask_limits)
        self._resizes: dict[Selector, tuple[float, Resize | None]] = {}
        self._lock = Lock()

    def is_slow(self, image: ImageLike) -> bool:
        """Report whether encoding an image, by reading or converting it, may block for long."""
        if is_path(image) or is_file(image) or isinstance(image, Image.Image):
            return True
        if not self._limits.are_final:  # the server may be asked
            return is_large(image)
        limits = self._limits.known or _DEFAULT_LIMITS
        return self._shrinks and excess_of(image, limits) is not None

    @property
    def known_max_inputs(self) -> int | None:
        """How many images the server allows in a request; None if it must be asked."""
        known = self._limits.known
        return None if known is None else known.max_inputs

    def learn_max_inputs(self, metadata: CheckedMetadata) -> int:
        """Return how many images the server allows in a request; it is asked once, which blocks."""
        return self._limits.learn(metadata).max_inputs

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
        if keeps_image or is_path(image):
            encoded.sent.source = Source(image)
        return encoded

    def _encode(
        self, template: RequestTemplate, image: ImageLike, metadata: CheckedMetadata
    ) -> EncodedImage:
        content = resolve_source(image)
        if isinstance(content, Path):
            path, size_bytes = content, _file_bytes(content)
            limits = self._limits_for(size_bytes > LARGE_BYTES, metadata)
            if self._shrinks and size_bytes > limits.max_request_bytes:
                excess = too_many_bytes(size_bytes, limits)
                return self._shrink(template, path, metadata, limits, excess)
            content = read_image(path, limits.max_request_bytes)
        if self._limits.known is None and not is_large(content):
            return encode_image(template, content)
        limits = self._limits.learn(metadata)
        if self._shrinks and (excess_of_content := excess_of(content, limits)):
            return self._shrink(template, content, metadata, limits, excess_of_content)
        return encode_image(template, content, limits.max_request_bytes)

    def _limits_for(self, is_large: bool, metadata: CheckedMetadata) -> ServerLimits:
        if is_large:
            return self._limits.learn(metadata)
        return self._limits.known or _DEFAULT_LIMITS

    def _shrink(
        self,
        template: RequestTemplate,
        image: ImageLike,
        metadata: CheckedMetadata,
        limits: ServerLimits,
        excess: Excess,
    ) -> EncodedImage:
        resize = self._resize(template.selector, metadata)
        shrunk = shrink(image, resize, limits)
        log.debug(
            "shrank %s from %d x %d to %d x %d pixels: %s",
            image_name(image) or "an image",
            *shrunk.size,
            *shrunk.sent_size,
            excess.message,
        )
        encoded = encode_image(template, shrunk.image, limits.max_request_bytes)
        return EncodedImage(encoded.field, SentImage(size=shrunk.size, sent_size=shrunk.sent_size))

    def _resize(self, selector: Selector, metadata: CheckedMetadata) -> Resize | None:
        """Return how the server resizes images for a model; None if it doesn't say."""
        with self._lock:
            known = self._resizes.get(selector)
        if known is not None and time.monotonic() - known[0] < _DESCRIPTION_SECONDS:
            return known[1]
        try:
            resize = resize_of(self._describe(selector, metadata))
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
