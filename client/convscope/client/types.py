"""The arguments and the results of the clients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.client._contact_sheet import draw_contact_sheet
from convscope.client._model_info import (
    Execution,
    FeatureMapInfo,
    InputInfo,
    Metric,
    ModelInfo,
    ModelSummary,
    Provenance,
    Resize,
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
    "Resize",
    "StageSeconds",
    "Tensor",
]

FeatureMapDType: TypeAlias = Literal["float32", "float16", "uint8"]
Priority: TypeAlias = Literal["interactive", "bulk"]
"""Whether a request is served at once, or may wait for interactive ones."""

_FEATURE_MAP_DTYPES = ("float32", "float16", "uint8")


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """The model's own input, sent unchanged: the server doesn't decode or resize it.

    Args:
        array: An array of exactly the type and shape of `ModelInfo.input`, without
            a batch dimension.
    """

    array: NDArray[Any]


ImageLike: TypeAlias = str | Path | bytes | Image.Image | NDArray[np.uint8] | Tensor
"""A path, an encoded image, a PIL image, uint8 pixels [H, W, C] or [H, W], or a `Tensor`."""


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
    """The output of one layer for one image.

    Args:
        name: The feature map's name.
        array: float32 [C, H, W].
        channels: For each channel of the array, its index in the layer; empty
            for the mean over all channels.
        model: The model that computed it.
        version: The model's version.
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
        """Draw the channels side by side on a labeled contact sheet.

        Each channel is scaled on its own, from its 1st to its 99th percentile.
        If there are more than 64 channels, the 64 strongest are drawn.

        Args:
            source: The classified image, to be shown beside the channels.
            image_name: The image's name, for the heading.
            stride: `FeatureMapInfo.stride`, for the heading.

        Returns:
            An RGB image.
        """
        return draw_contact_sheet(self, source, image_name=image_name, stride=stride)


@dataclass(frozen=True, eq=False, slots=True)
class Classification:
    """The result of one image.

    Args:
        model: The model that classified it.
        version: The model's version.
        provider: The execution provider that ran the model, such as "cpu".
        classes: The most probable classes, the most probable first.
        feature_maps: The requested feature maps, by name.
        stage_seconds: How long each stage of the server took.
    """

    model: str
    version: int
    provider: str
    classes: tuple[ClassScore, ...]
    feature_maps: Mapping[str, FeatureMap]
    stage_seconds: StageSeconds

    @property
    def top(self) -> ClassScore:
        """The most probable class.

        Raises:
            LookupError: The result has no class.
        """
        if not self.classes:
            raise LookupError(
                f"{self.model} v{self.version} returned no class: none reached "
                "min_probability, or the model has feature maps only"
            )
        return self.classes[0]
