"""The reference way from an encoded image to a network's input.

It is the simplest one: decode the whole image, apply its orientation, convert,
resize, crop or pad. The server does the same work faster; the golden gate compares
the two.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from convscope.exporter.errors import ExporterError, ImageError
from convscope.exporter.preprocessing.resizing import Exact, Fit, ResizeRule, rule_of
from convscope.v1 import manifest_pb2 as pb

__all__ = ["ImagePreprocessing"]

_MODES = {1: "L", 3: "RGB"}
_COLORS = {1: pb.COLOR_MODE_GRAY, 3: pb.COLOR_MODE_RGB}
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_INTERPOLATIONS = {
    "bilinear": pb.INTERPOLATION_BILINEAR,
    "bicubic": pb.INTERPOLATION_BICUBIC,
    "lanczos": pb.INTERPOLATION_LANCZOS,
}
_INTERPOLATION_NAMES = {number: name for name, number in _INTERPOLATIONS.items()}


@dataclass(frozen=True, slots=True)
class ImagePreprocessing:
    """The image that a network expects, and the steps to it.

    Args:
        height: The input's height in pixels.
        width: The input's width in pixels.
        mean: The value that is subtracted from each channel, in units of 0 to
            1; its length is the number of channels.
        std: The value by which each channel is then divided.
        interpolation: The filter of the resize.
        resize: How an image is resized before the center crop or the padding; None
            resizes to height and width.
        reverses_channels: Whether the graph reverses the channels for a network
            that takes blue, green and red. The image, mean and std have red first
            in any case.
        assumed: Whether neither the user nor the network stated it.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    resize: ResizeRule | None = None
    reverses_channels: bool = False
    assumed: bool = False

    def __post_init__(self) -> None:
        if self.interpolation not in _FILTERS:
            raise ExporterError(
                f"the interpolation {self.interpolation!r} isn't supported; "
                f"use one of: {', '.join(_FILTERS)}"
            )
        if self.channels not in _MODES or len(self.std) != self.channels:
            raise ExporterError(
                f"images have 1 or 3 channels; the mean has {self.channels} values and the "
                f"standard deviation {len(self.std)}"
            )
        if isinstance(self.resize, Fit) and len(self.resize.color) != self.channels:
            raise ExporterError(
                f"the padding has {len(self.resize.color)} values; the images have "
                f"{self.channels} channels"
            )

    @classmethod
    def of_manifest(cls, manifest: pb.ModelManifest) -> "ImagePreprocessing":
        """Return the preprocessing of a valid manifest, without the graph's normalization."""
        height, width, channels = manifest.input.shape
        rule = manifest.preprocessing
        return cls(
            height=height,
            width=width,
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
            interpolation=_INTERPOLATION_NAMES[rule.interpolation],
            resize=rule_of(rule.resize),
        )

    @property
    def resize_rule(self) -> ResizeRule:
        """How an image is resized."""
        return self.resize or Exact(self.height, self.width)

    @property
    def shape(self) -> tuple[int, ...]:
        """The graph's input without the batch: height, width, channels."""
        return self.height, self.width, self.channels

    @property
    def pads(self) -> bool:
        """Whether the image may be smaller than the input, which is then padded."""
        return isinstance(self.resize, Fit)

    @property
    def channels(self) -> int:
        """1 for gray, 3 for RGB."""
        return len(self.mean)

    def prepare(self, encoded: bytes) -> NDArray[np.uint8]:
        """Prepare an encoded image; return uint8 [height, width, channels].

        Raises:
            ImageError: It isn't an image, or is damaged as far as its format shows that.
                Only PNG has checksums.
        """
        try:
            Image.open(BytesIO(encoded)).verify()  # the checksums; the image can't be used then
            return self.prepare_image(Image.open(BytesIO(encoded)))
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise anything on damaged files
            raise ImageError("it is not an image, or it is damaged") from error

    def prepare_image(self, image: Image.Image) -> NDArray[np.uint8]:
        """Prepare an opened image; return uint8 [height, width, channels]."""
        image = ImageOps.exif_transpose(image)
        image = _convert(image, _MODES[self.channels])
        rule, target = self.resize_rule, (self.width, self.height)
        image = image.resize(rule.size(image.size, target), _FILTERS[self.interpolation])
        image = rule.pad(image, target) if isinstance(rule, Fit) else _center(image, target)
        return np.array(image).reshape(self.height, self.width, self.channels)

    def input_spec(self) -> pb.InputSpec:
        """Return the manifest's description of the graph's input."""
        return pb.InputSpec(
            name="images",
            kind=pb.INPUT_KIND_IMAGE,
            dtype=pb.DATA_TYPE_UINT8,
            shape=self.shape,
        )

    def to_proto(self) -> pb.Preprocessing:
        """Return the manifest's description of the preprocessing."""
        return pb.Preprocessing(
            color_mode=_COLORS[self.channels],
            resize=self.resize_rule.to_proto(),
            interpolation=_INTERPOLATIONS[self.interpolation],
            mean=self.mean,
            std=self.std,
            reverses_channels=self.reverses_channels,
            assumed=self.assumed,
        )


def _center(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    left, top = (round((has - keeps) / 2) for has, keeps in zip(image.size, size, strict=True))
    return image.crop((left, top, left + size[0], top + size[1]))


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert any color mode to RGB or L; transparent pixels become white.

    Raises:
        ImageError: The range of its values isn't known.
    """
    if image.mode == "F":
        raise ImageError(
            "it has floating-point pixels, whose range isn't known; save it with 8 or 16 bits per "
            "channel"
        )
    if image.mode.startswith("I"):  # 16 bits of gray
        image = Image.fromarray(np.rint(np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert(mode)
