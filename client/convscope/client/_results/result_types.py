"""The result of an image."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.client._drawing.contact_sheet import draw_contact_sheet
from convscope.client._inputs.arguments import ImageLike
from convscope.client._inputs.upright import open_upright
from convscope.client._results.explanation import ClassScore, Explanation
from convscope.client._results.image_crop import ImageCrop

__all__ = ["ClassScore", "Classification", "Explanation", "FeatureMap", "StageSeconds"]


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
        crop: The part of the image that it shows; None if the model doesn't take images,
            or the server doesn't report it.
    """

    name: str
    array: NDArray[np.float32]
    channels: tuple[int, ...]
    model: str = ""
    version: int = 0
    crop: ImageCrop | None = None

    def strongest(self, count: int) -> list[int]:
        """Return the positions in `array` of the channels with the largest mean, largest first."""
        means = self.array.mean(axis=(1, 2))
        order: list[int] = np.argsort(-means, kind="stable")[:count].tolist()
        return order

    def to_image(
        self,
        source: ImageLike | None = None,
        *,
        image_name: str = "",
        stride: float | None = None,
    ) -> Image.Image:
        """Draw the channels side by side on a labeled contact sheet.

        Each channel is scaled on its own, from its 1st to its 99th percentile.
        If there are more than 64 channels, the 64 strongest are drawn.

        Args:
            source: The classified image, or the same in another size. The part that the
                network saw is shown beside the channels.
            image_name: The image's name, for the heading.
            stride: `FeatureMapInfo.stride`, for the heading.

        Returns:
            An RGB image.

        Raises:
            InvalidInputError: The image can't be read, or has other proportions than the one
                that was classified.
        """
        seen = None if source is None else open_upright(source)
        if seen is not None and self.crop is not None:
            seen = seen.crop(self.crop.box(*seen.size))
        return draw_contact_sheet(self, seen, image_name=image_name, stride=stride)


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
        explanations: The requested explanations, in the order of the request.
        crop: The part of the image that the network saw, if the request asks for
            feature maps or explanations.
    """

    model: str
    version: int
    provider: str
    classes: tuple[ClassScore, ...]
    feature_maps: Mapping[str, FeatureMap]
    stage_seconds: StageSeconds
    explanations: tuple[Explanation, ...] = ()
    crop: ImageCrop | None = None

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
