"""The reference way from an encoded image to a network's input.

It is the simplest one: decode the whole image, apply its orientation, convert,
resize, crop. The server does the same work faster; the golden gate compares
the two.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from convscope.exporter.errors import ExporterError, ImageError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["ImagePreprocessing"]

_MODES = {1: "L", 3: "RGB"}
_COLORS = {1: pb.COLOR_MODE_GRAY, 3: pb.COLOR_MODE_RGB}
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_INTERPOLATIONS = {"bilinear": pb.INTERPOLATION_BILINEAR, "bicubic": pb.INTERPOLATION_BICUBIC}


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
        shortest_edge: The length in pixels to which the shorter edge is resized
            before the center crop; None resizes to height and width.
        reverses_channels: Whether the graph reverses the channels for a network
            that takes blue, green and red. The image, mean and std have red first
            in any case.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    shortest_edge: int | None = None
    reverses_channels: bool = False

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

    @property
    def shape(self) -> tuple[int, ...]:
        """The graph's input without the batch: height, width, channels."""
        return self.height, self.width, self.channels

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
        image = image.resize(self._resized(image.width, image.height), _FILTERS[self.interpolation])
        left = round((image.width - self.width) / 2)
        top = round((image.height - self.height) / 2)
        image = image.crop((left, top, left + self.width, top + self.height))
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
        resize = (
            pb.Resize(rule=pb.RESIZE_RULE_EXACT, height=self.height, width=self.width)
            if self.shortest_edge is None
            else pb.Resize(rule=pb.RESIZE_RULE_SHORTEST_EDGE, shortest_edge=self.shortest_edge)
        )
        return pb.Preprocessing(
            color_mode=_COLORS[self.channels],
            resize=resize,
            interpolation=_INTERPOLATIONS[self.interpolation],
            mean=self.mean,
            std=self.std,
            reverses_channels=self.reverses_channels,
        )

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        edge = self.shortest_edge
        if edge is None:
            return self.width, self.height
        if width <= height:
            return edge, int(edge * height / width)
        return int(edge * width / height), edge


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
