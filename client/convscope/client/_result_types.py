"""The result of an image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.client._arguments import ImageLike
from convscope.client._contact_sheet import draw_contact_sheet
from convscope.client._explanation_sheet import OPACITY, draw_explanation
from convscope.client._image_crop import ImageCrop
from convscope.client._overlay import paint_heat
from convscope.client._upright import open_upright
from convscope.client.errors import InvalidInputError

__all__ = ["ClassScore", "Classification", "Explanation", "FeatureMap", "StageSeconds"]


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
class Explanation:
    """Which parts of one image speak for a class.

    Args:
        target: The explained class and its probability.
        against: The class that it is contrasted with; None without contrast.
        method: How it was computed, such as "grad-cam".
        array: The heat, float32 [height, width] for an image: one value for each cell of
            an even grid over the part that the network saw. Positive heat speaks for the
            class, negative heat against it, in units of the logit; for "eigen-cam", in
            units of the tensor.
        logit: The logit of the class; with a contrast, minus that of the other class.
        remainder: The part of the logit that the heat doesn't explain: the logit minus
            the sum of the heat. None for methods whose heat has no such sum.
        tensor: The tensor of the graph whose positions the heat has; empty for
            "occlusion".
        crop: The part of the image that the network saw; None if the model doesn't take
            images.
        model: The model that was explained.
        version: The model's version.
    """

    target: ClassScore
    against: ClassScore | None
    method: str
    array: NDArray[np.float32]
    logit: float
    remainder: float | None
    tensor: str = ""
    crop: ImageCrop | None = None
    model: str = ""
    version: int = 0

    @property
    def label(self) -> str:
        """The name of the explained class."""
        return self.target.label

    @property
    def index(self) -> int:
        """The index of the explained class in the model's labels."""
        return self.target.index

    @property
    def probability(self) -> float:
        """The probability of the explained class."""
        return self.target.probability

    @property
    def limit(self) -> float:
        """The largest magnitude of the heat."""
        return float(np.abs(self.array).max())

    @property
    def share(self) -> float | None:
        """The share of the logit that the heat explains; None if that isn't known.

        It may be negative, or above 1: the remainder may have the other sign.
        """
        if self.remainder is None or not self.logit:
            return None
        return 1 - self.remainder / self.logit

    def overlay(
        self,
        image: ImageLike,
        *,
        opacity: float = OPACITY,
        limit: float | None = None,
        outside: Literal["dim", "plain"] = "dim",
    ) -> Image.Image:
        """Draw the heat over the classified image, where the network saw it.

        Orange speaks for the class, and blue against it. The colors of the image become
        paler below them.

        Args:
            image: The image that was classified, or the same in another size. Its EXIF
                orientation is applied.
            opacity: The opacity of the strongest heat, from 0 to 1.
            limit: The heat of the strongest color, to compare several pictures; by default
                the largest magnitude of this one.
            outside: "dim" or "plain": how to draw the part that the network didn't see.

        Returns:
            An RGB image of the size of the upright image.

        Raises:
            InvalidInputError: The image can't be read, or has other proportions than the one
                that was classified, or the model doesn't take images.
        """
        photo = open_upright(image)
        return paint_heat(
            photo,
            self._planar(),
            self._crop().box(*photo.size),
            limit=self.limit if limit is None else limit,
            opacity=opacity,
            dims_outside=outside == "dim",
        )

    def to_image(self, source: ImageLike | None = None, *, image_name: str = "") -> Image.Image:
        """Draw the image beside its heat, with the class, its probability and a scale.

        Args:
            source: The image that was classified, or the same in another size; by default
                the heat is drawn alone.
            image_name: The image's name, for the heading.

        Returns:
            An RGB image.

        Raises:
            InvalidInputError: As for `overlay`.
        """
        self._planar()
        if source is None:
            return draw_explanation(self, None, None, image_name)
        return draw_explanation(self, open_upright(source), self._crop(), image_name)

    def _planar(self) -> NDArray[np.float32]:
        if self.array.ndim != 2:
            raise InvalidInputError(
                f"the heat has the shape {list(self.array.shape)}; only heat of images "
                "[height, width] can be drawn"
            )
        return self.array

    def _crop(self) -> ImageCrop:
        if self.crop is None:
            raise InvalidInputError(
                f"the server doesn't report which part of an image {self.model} "
                f"v{self.version} saw; heat can only be drawn over the input of a model for images"
            )
        return self.crop


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
