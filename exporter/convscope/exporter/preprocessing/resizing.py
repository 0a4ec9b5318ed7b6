"""The rules by which an image of any size becomes one of the network's size."""

from dataclasses import dataclass
from typing import Literal

from PIL import Image

from convscope.v1 import manifest_pb2 as pb

__all__ = ["Exact", "Fit", "Placement", "ResizeRule", "ShortestEdge", "rule_of"]

Placement = Literal["center", "top-left"]

_PLACEMENTS = {"center": pb.PLACEMENT_CENTER, "top-left": pb.PLACEMENT_TOP_LEFT}
_PLACEMENT_NAMES: dict[int, Placement] = {
    pb.PLACEMENT_CENTER: "center",
    pb.PLACEMENT_TOP_LEFT: "top-left",
}


@dataclass(frozen=True, slots=True)
class ShortestEdge:
    """The shorter edge gets a length, and the center is cut out.

    Args:
        length: The length in pixels, at least the longer edge of the network's input.
    """

    length: int

    def size(self, image: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
        """Return the new width and height; the longer edge is rounded down."""
        width, height = image
        if width <= height:
            return self.length, int(self.length * height / width)
        return int(self.length * width / height), self.length

    def to_proto(self) -> pb.Resize:
        """Return the manifest's description."""
        return pb.Resize(rule=pb.RESIZE_RULE_SHORTEST_EDGE, shortest_edge=self.length)


@dataclass(frozen=True, slots=True)
class Exact:
    """Both edges get a length, whatever the aspect ratio, and the center is cut out.

    Args:
        height: The height in pixels, at least that of the network's input.
        width: The width in pixels, likewise.
    """

    height: int
    width: int

    def size(self, image: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
        """Return the new width and height."""
        return self.width, self.height

    def to_proto(self) -> pb.Resize:
        """Return the manifest's description."""
        return pb.Resize(rule=pb.RESIZE_RULE_EXACT, height=self.height, width=self.width)


@dataclass(frozen=True, slots=True)
class Fit:
    """The image is as large as fits into the network's input, and padding fills the rest.

    Args:
        color: The value of the padding, 0 to 255, for each channel, red first.
        placement: Where the image is placed.
    """

    color: tuple[int, ...]
    placement: Placement = "center"

    def size(self, image: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
        """Return the new width and height; both are rounded to the nearest pixel."""
        scale = min(target[0] / image[0], target[1] / image[1])
        width, height = (max(round(edge * scale), 1) for edge in image)
        return width, height

    def pad(self, image: Image.Image, target: tuple[int, int]) -> Image.Image:
        """Place a resized image on padding of the target's width and height."""
        color = self.color[0] if len(self.color) == 1 else self.color
        page = Image.new(image.mode, target, color)
        free = target[0] - image.width, target[1] - image.height
        is_centered = self.placement == "center"
        page.paste(image, (free[0] // 2, free[1] // 2) if is_centered else (0, 0))
        return page

    def to_proto(self) -> pb.Resize:
        """Return the manifest's description."""
        padding = pb.Padding(placement=_PLACEMENTS[self.placement], color=self.color)
        return pb.Resize(rule=pb.RESIZE_RULE_FIT, padding=padding)


ResizeRule = ShortestEdge | Exact | Fit


def rule_of(message: pb.Resize) -> ResizeRule:
    """Return the rule that a valid manifest describes."""
    if message.rule == pb.RESIZE_RULE_EXACT:
        return Exact(message.height, message.width)
    if message.rule == pb.RESIZE_RULE_FIT:
        padding = message.padding
        return Fit(tuple(padding.color), _PLACEMENT_NAMES[padding.placement])
    return ShortestEdge(message.shortest_edge)
