"""A feature map of an image."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.client._drawing.contact_sheet import draw_contact_sheet
from convscope.client._drawing.html.pictures import small_png
from convscope.client._inputs.arguments import ImageLike
from convscope.client._inputs.upright import open_upright
from convscope.client._results.content import same_array, to_plain
from convscope.client._results.guessed_names import GuessedNames
from convscope.client._results.image_crop import ImageCrop
from convscope.client._results.source import Source

__all__ = ["FeatureMap"]


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class FeatureMap(GuessedNames):
    """The output of one layer for one image.

    Two feature maps are equal if they have the same name, model, channels and elements.

    Args:
        name: The feature map's name.
        array: float32 [C, H, W].
        channels: For each channel of the array, its index in the layer; empty
            for the mean over all channels.
        model: The model that computed it.
        version: The model's version.
        crop: The part of the image that it shows; None if the model doesn't take images,
            or the server doesn't report it.
        source: The image, for the picture of a notebook, if the result keeps it.

    Example:
        >>> result = client.classify("digits/3.png", model="digits", feature_maps=["conv1"])
        >>> result.feature_maps["conv1"]
        <FeatureMap conv1 [10, 24, 24] of digits v1>
    """

    name: str
    array: NDArray[np.float32]
    channels: tuple[int, ...]
    model: str = ""
    version: int = 0
    crop: ImageCrop | None = None
    source: Source | None = field(default=None)

    _GUESSES = dict.fromkeys(("data", "numpy", "values"), "array")

    def __repr__(self) -> str:
        shape = list(self.array.shape)
        origin = f" of {self.model} v{self.version}" if self.model else ""
        return f"<FeatureMap {self.name} {shape}{origin}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FeatureMap):
            return NotImplemented
        same = self._key() == other._key() and self.crop == other.crop
        return same and same_array(self.array, other.array)

    def __hash__(self) -> int:
        return hash(self._key())

    def strongest(self, count: int) -> list[int]:
        """Return the positions in `array` of the channels with the largest mean, largest first.

        Example:
            >>> result = client.classify("digits/3.png", model="digits", feature_maps=["conv1"])
            >>> conv1 = result.feature_maps["conv1"]
            >>> conv1.array[conv1.strongest(2)].shape
            (2, 24, 24)
        """
        means = self.array.mean(axis=(1, 2))
        order: list[int] = np.argsort(-means, kind="stable")[:count].tolist()
        return order

    def to_dict(self, *, arrays: bool = False) -> dict[str, Any]:
        """Return it as values that JSON has.

        Args:
            arrays: Whether to include the elements, which may be many.

        Example:
            >>> result = client.classify("digits/3.png", model="digits", feature_maps=["conv1"])
            >>> conv1 = result.feature_maps["conv1"]
            >>> conv1.to_dict()["shape"]
            [10, 24, 24]
        """
        fields: dict[str, Any] = {
            "name": self.name,
            "shape": list(self.array.shape),
            "channels": list(self.channels),
            "model": self.model,
            "version": self.version,
            "crop": None if self.crop is None else to_plain(asdict(self.crop)),
        }
        return fields | {"array": to_plain(self.array)} if arrays else fields

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

        Example:
            >>> result = client.classify("digits/3.png", model="digits", feature_maps=["conv1"])
            >>> conv1 = result.feature_maps["conv1"]
            >>> conv1.to_image("digits/3.png").save("conv1.png")
        """
        seen = None if source is None else open_upright(source)
        if seen is not None and self.crop is not None:
            seen = seen.crop(self.crop.box(*seen.size))
        return draw_contact_sheet(self, seen, image_name=image_name, stride=stride)

    def _repr_png_(self) -> bytes:
        seen = None if self.source is None else self.source.open()
        return small_png(self.to_image(seen))

    def _key(self) -> tuple[object, ...]:
        return self.name, self.model, self.version, self.channels, self.array.shape
