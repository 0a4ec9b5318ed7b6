"""The reference way from an encoded image to a network's input.

It is the plainest one: decode the whole image, turn it upright, convert,
resize, crop. The server does the same work faster; the golden gate holds one
against the other.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from convscope.exporter.errors import ExporterError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["ImagePreprocessing", "InputRule", "TensorInput"]

_TENSOR_NAMES = {2: "signal", 4: "clip"}
_MODES = {1: "L", 3: "RGB"}
_COLORS = {1: pb.COLOR_MODE_GRAY, 3: pb.COLOR_MODE_RGB}
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_INTERPOLATIONS = {"bilinear": pb.INTERPOLATION_BILINEAR, "bicubic": pb.INTERPOLATION_BICUBIC}


@dataclass(frozen=True, slots=True)
class ImagePreprocessing:
    """What a network expects of an image.

    Args:
        height: The input's height in pixels.
        width: The input's width in pixels.
        mean: What is subtracted from each channel, in units of 0 to 1; its
            length is the number of channels.
        std: What each channel is divided by then.
        interpolation: The filter of the resize.
        shortest_edge: The length in pixels that the shorter edge is brought to
            before the centre is cropped; None resizes to height and width.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    shortest_edge: int | None = None

    def __post_init__(self) -> None:
        if self.interpolation not in _FILTERS:
            raise ExporterError(
                f"the interpolation {self.interpolation!r} isn't served; "
                f"there are: {', '.join(_FILTERS)}"
            )
        if self.channels not in _MODES or len(self.std) != self.channels:
            raise ExporterError(
                f"images have 1 or 3 channels, not {self.channels} by the mean and "
                f"{len(self.std)} by the standard deviation"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The graph's input without the batch: height, width, channels."""
        return self.height, self.width, self.channels

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return len(self.mean)

    def prepare(self, encoded: bytes) -> NDArray[np.uint8]:
        """Prepare an encoded image; uint8 [height, width, channels]."""
        return self.prepare_image(Image.open(BytesIO(encoded)))

    def prepare_image(self, image: Image.Image) -> NDArray[np.uint8]:
        """Prepare an opened image; uint8 [height, width, channels]."""
        image = ImageOps.exif_transpose(image)
        image = _convert(image, _MODES[self.channels])
        image = image.resize(self._resized(image.width, image.height), _FILTERS[self.interpolation])
        left = round((image.width - self.width) / 2)
        top = round((image.height - self.height) / 2)
        image = image.crop((left, top, left + self.width, top + self.height))
        return np.array(image).reshape(self.height, self.width, self.channels)

    def input_spec(self) -> pb.InputSpec:
        """State the graph's input in a manifest's words."""
        return pb.InputSpec(
            name="images",
            kind=pb.INPUT_KIND_IMAGE,
            dtype=pb.DATA_TYPE_UINT8,
            shape=self.shape,
        )

    def to_proto(self) -> pb.Preprocessing:
        """State the way of an image in a manifest's words."""
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
        )

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        edge = self.shortest_edge
        if edge is None:
            return self.width, self.height
        if width <= height:
            return edge, int(edge * height / width)
        return int(edge * width / height), edge


@dataclass(frozen=True, slots=True)
class TensorInput:
    """What a network expects that takes no images: float32, used as it is.

    Args:
        shape: [channels, length] of a signal, or [channels, frames, height,
            width] of a clip.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) not in _TENSOR_NAMES or min(self.shape) < 1:
            raise ExporterError(
                f"a tensor input is [channels, length] or [channels, frames, height, width], "
                f"not {list(self.shape)}"
            )

    @property
    def channels(self) -> int:
        """How many values each place has."""
        return self.shape[0]

    @property
    def mean(self) -> tuple[float, ...]:
        """Nothing is subtracted."""
        return ()

    @property
    def std(self) -> tuple[float, ...]:
        """Nothing is divided by."""
        return ()

    def prepare(self, encoded: bytes) -> NDArray[np.uint8]:
        """Refuse an encoded image.

        Raises:
            ExporterError: Always; there is no way from an image to a tensor.
        """
        raise ExporterError(
            f"the network takes tensors {list(self.shape)} and no images; "
            "give it arrays with --dataset npz:FILE"
        )

    def input_spec(self) -> pb.InputSpec:
        """State the graph's input in a manifest's words."""
        return pb.InputSpec(
            name=_TENSOR_NAMES[len(self.shape)],
            kind=pb.INPUT_KIND_TENSOR,
            dtype=pb.DATA_TYPE_FLOAT32,
            shape=self.shape,
        )


InputRule: TypeAlias = ImagePreprocessing | TensorInput


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Bring any colour mode to RGB or L; what is transparent becomes white."""
    if image.mode.startswith("I"):  # 16 bits of grey
        image = Image.fromarray(np.rint(np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert(mode)
