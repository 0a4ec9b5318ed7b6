"""Alters training images, each independently, without changing their class."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["HANDWRITING", "PHOTOS", "THINGS", "Augmentation"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The ranges in which images are rotated, shifted, scaled and mirrored.

    Args:
        degrees: The largest rotation.
        shift: The largest shift, as a fraction of the side.
        zoom: The largest change of the size, as a fraction.
        flip: Whether half of the images are mirrored left to right.
        padding: The values outside the image: "zeros" or "reflection".
    """

    degrees: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    flip: bool = False
    padding: str = "zeros"

    def __call__(self, planes: Tensor) -> Tensor:
        """Return an altered batch, float32 [N, C, H, W]."""
        count = len(planes)

        def uniform(largest: float) -> Tensor:
            return (2 * torch.rand(count, device=planes.device) - 1) * largest

        angle = uniform(math.radians(self.degrees))
        scale = 1 + uniform(self.zoom)
        mirror = torch.ones(count, device=planes.device)
        if self.flip:
            mirror = torch.where(torch.rand(count, device=planes.device) < 0.5, -mirror, mirror)
        cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
        # The grid reaches from -1 to 1, so a fraction of the side counts twice.
        rows = [
            torch.stack([cos * mirror, -sin, uniform(2 * self.shift)], dim=1),
            torch.stack([sin * mirror, cos, uniform(2 * self.shift)], dim=1),
        ]
        grid = nn.functional.affine_grid(
            torch.stack(rows, dim=1), list(planes.shape), align_corners=False
        )
        return nn.functional.grid_sample(
            planes, grid, padding_mode=self.padding, align_corners=False
        )


HANDWRITING = Augmentation(degrees=10, shift=0.08, zoom=0.1)
THINGS = Augmentation(shift=0.03, flip=True)
PHOTOS = Augmentation(degrees=8, shift=0.1, zoom=0.15, flip=True, padding="reflection")
