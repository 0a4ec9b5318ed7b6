"""Alters training images, each on its own, without making them another class."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["HANDWRITING", "PHOTOS", "THINGS", "Augmentation"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far images are turned, moved and scaled, and whether they are mirrored.

    Args:
        degrees: The largest turn.
        shift: The largest move, as a share of the side.
        zoom: The largest change of the size, as a share.
        flip: Whether half of them are mirrored left to right.
        padding: What comes in from outside: "zeros" or "reflection".
    """

    degrees: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    flip: bool = False
    padding: str = "zeros"

    def __call__(self, planes: Tensor) -> Tensor:
        """Alter a batch, float32 [N, C, H, W]."""
        count = len(planes)

        def uniform(largest: float) -> Tensor:
            return (2 * torch.rand(count, device=planes.device) - 1) * largest

        angle = uniform(math.radians(self.degrees))
        scale = 1 + uniform(self.zoom)
        mirror = torch.ones(count, device=planes.device)
        if self.flip:
            mirror = torch.where(torch.rand(count, device=planes.device) < 0.5, -mirror, mirror)
        cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
        # The grid counts from -1 to 1, so that a share of the side is twice as much.
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
