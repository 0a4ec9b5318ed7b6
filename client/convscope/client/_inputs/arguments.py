"""The arguments of the clients."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.client.errors import InvalidInputError

__all__ = [
    "BinaryFile",
    "FeatureMapDType",
    "FeatureMapSelection",
    "ImageLike",
    "Oversize",
    "Priority",
    "Tensor",
]

FeatureMapDType: TypeAlias = Literal["float32", "float16", "uint8"]
Priority: TypeAlias = Literal["interactive", "bulk"]
"""Whether a request is served at once, or may wait for interactive ones."""

Oversize: TypeAlias = Literal["shrink", "error"]
"""What happens to images beyond the server's limits."""

_FEATURE_MAP_DTYPES = ("float32", "float16", "uint8")


class BinaryFile(Protocol):
    """A file that is open for reading bytes, such as `open(path, "rb")` or `io.BytesIO`."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes; by default all that remain."""


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """The model's own input, sent unchanged: the server doesn't decode or resize it.

    Args:
        array: An array of exactly the type and shape of `ModelInfo.input`, without
            a batch dimension.

    Example:
        >>> pixels = np.zeros((28, 28, 1), np.uint8)
        >>> client.classify(Tensor(pixels), model="digits").model
        'digits'
    """

    array: NDArray[Any]


ImageLike: TypeAlias = (
    str
    | PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryFile
    | Image.Image
    | NDArray[np.uint8]
    | Tensor
)
"""A path, an encoded image as an open file or bytes, a PIL image, uint8 pixels, or a `Tensor`."""


@dataclass(frozen=True)
class FeatureMapSelection:
    """A feature map to return, whole or narrowed by one of three options.

    Args:
        name: One of the names in `ModelInfo.feature_maps`.
        channels: Return only these channels, in this order.
        strongest: Return only the n channels with the largest mean, the largest first.
        mean: Return only one channel, the mean over all of them.
        dtype: The type in which the server sends the elements. "uint8" has a
            quarter of the size of "float32", with 256 steps from the smallest
            value to the largest.

    Raises:
        InvalidInputError: More than one option is given, or the type is unknown.

    Example:
        >>> selection = FeatureMapSelection("conv1", strongest=3, dtype="float16")
        >>> result = client.classify("digits/3.png", model="digits", feature_maps=[selection])
        >>> result.feature_maps["conv1"].array.shape
        (3, 24, 24)
    """

    name: str
    channels: Sequence[int] | None = None
    strongest: int | None = None
    mean: bool = False
    dtype: FeatureMapDType = "float32"

    def __post_init__(self) -> None:
        if (self.channels is not None) + (self.strongest is not None) + self.mean > 1:
            raise InvalidInputError(
                f"the feature map {self.name!r} is narrowed twice; "
                "give only one of channels, strongest and mean"
            )
        if self.dtype not in _FEATURE_MAP_DTYPES:
            raise InvalidInputError(
                f"no dtype {self.dtype!r} for a feature map; "
                f"there are: {', '.join(_FEATURE_MAP_DTYPES)}"
            )
        if self.channels is not None:
            object.__setattr__(self, "channels", tuple(self.channels))
