"""What goes into a client and what comes out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.client._model_info import (
    Execution,
    FeatureMapInfo,
    InputInfo,
    Metric,
    ModelInfo,
    ModelSummary,
    Provenance,
)
from convscope.client.errors import InvalidInputError

__all__ = [
    "ClassScore",
    "Classification",
    "Execution",
    "FeatureMap",
    "FeatureMapDType",
    "FeatureMapInfo",
    "FeatureMapSelection",
    "ImageLike",
    "InputInfo",
    "Metric",
    "ModelInfo",
    "ModelSummary",
    "Priority",
    "Provenance",
    "StageSeconds",
    "Tensor",
]

FeatureMapDType: TypeAlias = Literal["float32", "float16", "uint8"]
Priority: TypeAlias = Literal["interactive", "bulk"]
"""Whether somebody waits for an answer, or it may come after those that somebody waits for."""

_FEATURE_MAP_DTYPES = ("float32", "float16", "uint8")


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """The model's own input, sent as it is: no decoding, no resizing.

    Args:
        array: Exactly of the type and shape that `ModelInfo.input` states,
            without a batch dimension.
    """

    array: NDArray[Any]


ImageLike: TypeAlias = str | Path | bytes | Image.Image | NDArray[np.uint8] | Tensor
"""A path, an encoded image, a PIL image, uint8 pixels [H, W, C] or [H, W], or a `Tensor`."""


@dataclass(frozen=True)
class FeatureMapSelection:
    """One feature map of a request, whole or narrowed by one of three choices.

    Args:
        name: One of the names that `ModelInfo.feature_maps` has.
        channels: Only these channels, in this order.
        strongest: Only the n channels with the largest mean, the largest first.
        mean: Only one channel, the mean over all of them.
        dtype: What to send the elements as; "uint8" is a quarter of
            "float32", in 256 steps from the smallest value to the largest.

    Raises:
        InvalidInputError: More than one choice is made, or there is no such type.
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
                "give one of channels, strongest and mean"
            )
        if self.dtype not in _FEATURE_MAP_DTYPES:
            raise InvalidInputError(
                f"no dtype {self.dtype!r} for a feature map; "
                f"there are: {', '.join(_FEATURE_MAP_DTYPES)}"
            )
        if self.channels is not None:
            object.__setattr__(self, "channels", tuple(self.channels))


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class and its probability, from 0 to 1."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """How long one image spent in each stage of the server, in seconds."""

    decode: float
    queue: float
    infer: float
    encode: float


@dataclass(frozen=True, eq=False, slots=True)
class FeatureMap:
    """What one layer made of one image.

    Args:
        name: The feature map's name.
        array: float32 [C, H, W].
        channels: For each channel of the array, its index in the layer; empty
            for the mean over all channels.
        model: The model that answered.
        version: Its version.
    """

    name: str
    array: NDArray[np.float32]
    channels: tuple[int, ...]
    model: str = ""
    version: int = 0

    def strongest(self, count: int) -> list[int]:
        """Return the positions in `array` of the channels with the largest mean, largest first."""
        means = self.array.mean(axis=(1, 2))
        order: list[int] = np.argsort(-means, kind="stable")[:count].tolist()
        return order

    def to_image(
        self,
        source: Image.Image | None = None,
        *,
        image_name: str = "",
        stride: float | None = None,
    ) -> Image.Image:
        """Draw the channels side by side on a labelled contact sheet.

        Each channel is scaled on its own, from its 1st to its 99th percentile.
        Of more than 64 channels, the 64 strongest are drawn.

        Args:
            source: The image that was classified, to show beside the channels.
            image_name: Its name, for the heading.
            stride: `FeatureMapInfo.stride`, for the heading.

        Returns:
            An RGB image.
        """
        from convscope.client._contact_sheet import draw_contact_sheet

        return draw_contact_sheet(self, source, image_name=image_name, stride=stride)


@dataclass(frozen=True, eq=False, slots=True)
class Classification:
    """The answer to one image.

    Args:
        model: The model that answered.
        version: Its version.
        provider: The execution provider that it ran on, such as "cpu".
        classes: The most probable classes, the best first.
        feature_maps: The feature maps that were asked for, by name.
        stage_seconds: Where the server's time went.
    """

    model: str
    version: int
    provider: str
    classes: tuple[ClassScore, ...]
    feature_maps: Mapping[str, FeatureMap]
    stage_seconds: StageSeconds

    @property
    def top(self) -> ClassScore:
        """The best class.

        Raises:
            LookupError: There is none.
        """
        if not self.classes:
            raise LookupError(
                f"{self.model} v{self.version} answered without a class: none reached "
                "min_probability, or the model has feature maps only"
            )
        return self.classes[0]
