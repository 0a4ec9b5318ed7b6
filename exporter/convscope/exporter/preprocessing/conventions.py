"""Conventions of other libraries for preparing images, by name."""

from dataclasses import dataclass
from typing import Literal

from convscope.exporter.preprocessing.resizing import Exact, ResizeRule, ShortestEdge

__all__ = ["CONVENTIONS", "Convention", "ConventionName", "Interpolation"]

Interpolation = Literal["bilinear", "bicubic", "lanczos"]
ConventionName = Literal["torchvision", "timm", "keras-tf", "caffe", "unit"]

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Convention:
    """How a library prepares images.

    Args:
        scale: The factor for pixels of 0 to 255.
        mean: Then subtracted, per channel in the network's order.
        std: The divisor after that, likewise.
        bgr: Whether the network takes blue, green, red.
        interpolation: The filter of the resize.
        resize_ratio: The shorter edge after the resize, relative to the crop's longer
            edge; None to resize without keeping the aspect ratio.
    """

    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False
    interpolation: Interpolation = "bilinear"
    resize_ratio: float | None = 1.0

    def resize(self, height: int, width: int) -> ResizeRule:
        """Return the resize before a center crop of this size."""
        if self.resize_ratio is None:
            return Exact(height, width)
        return ShortestEdge(round(max(height, width) * self.resize_ratio))


CONVENTIONS: dict[str, Convention] = {
    # torchvision's presets: resize to 256, crop 224.
    "torchvision": Convention(mean=_IMAGENET_MEAN, std=_IMAGENET_STD, resize_ratio=256 / 224),
    # timm's default configuration: crop_pct 0.875, bicubic.
    "timm": Convention(
        mean=_IMAGENET_MEAN, std=_IMAGENET_STD, interpolation="bicubic", resize_ratio=1 / 0.875
    ),
    # preprocess_input(mode="tf"): pixels / 127.5 - 1.
    "keras-tf": Convention(scale=1 / 127.5, mean=(1.0,), resize_ratio=None),
    # preprocess_input(mode="caffe"): BGR, and the mean of ImageNet subtracted.
    "caffe": Convention(
        scale=1.0, mean=(103.939, 116.779, 123.68), bgr=True, resize_ratio=256 / 224
    ),
    # torchvision's ToTensor alone.
    "unit": Convention(),
}
