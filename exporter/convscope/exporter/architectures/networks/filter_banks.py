"""Banks of fixed filters, whose only outputs are feature maps."""

import math

import torch
from torch import Tensor, nn

__all__ = ["edge_filters", "edge_kernels", "leung_malik", "leung_malik_kernels"]

LEUNG_MALIK_SIDE = 49
ORIENTATIONS = 6
ELONGATION = 3.0
SCALES = tuple(math.sqrt(2) ** power for power in (1, 2, 3, 4))


def edge_kernels() -> Tensor:
    """Return the two kernels of Prewitt, float32 [2, 3, 3].

    The first responds to vertical edges and is positive where the image gets
    brighter to the right. The second responds to horizontal edges and is
    positive where the image gets brighter downwards.
    """
    vertical = torch.tensor([[-1.0, 0.0, 1.0]] * 3)
    return torch.stack([vertical, vertical.T])


def leung_malik_kernels() -> Tensor:
    """Return the 48 filters of Leung and Malik, float32 [48, 49, 49].

    18 first and 18 second derivatives of Gaussians, three times as long as they
    are wide, at 3 scales and 6 orientations each (ordered by scale, then by
    orientation from 0 to 150 degrees); 8 Laplacians of Gaussians; 4 Gaussians.
    The derivatives and Laplacians have a mean of 0 and absolute values that add
    up to 1; the Gaussians add up to 1.

    Source: T. Leung, J. Malik, "Representing and recognizing the visual
    appearance of materials using three-dimensional textons", IJCV 43 (2001), as
    parametrized by the Visual Geometry Group's makeLMfilters.m, except that
    makeLMfilters.m subtracts the mean from the Gaussians too.
    """
    derivatives = [
        _derivative(sigma, math.pi * step / ORIENTATIONS, order)
        for order in (1, 2)
        for sigma in SCALES[:3]
        for step in range(ORIENTATIONS)
    ]
    laplacians = [_laplacian(width * sigma) for width in (1, 3) for sigma in SCALES]
    gaussians = [_gaussian(sigma) for sigma in SCALES]
    bank = [*map(_balanced, derivatives + laplacians), *gaussians]
    return torch.stack(bank).to(torch.float32)


def _grid() -> tuple[Tensor, Tensor]:
    """Return the distances to the right of and above the center, float64 [49, 49] each."""
    half = LEUNG_MALIK_SIDE // 2
    steps = torch.arange(-half, half + 1, dtype=torch.float64)
    return steps.expand(LEUNG_MALIK_SIDE, -1), steps.flip(0)[:, None].expand(-1, LEUNG_MALIK_SIDE)


def _derivative(sigma: float, angle: float, order: int) -> Tensor:
    """Return a Gaussian's derivative across its long axis, which is rotated by an angle."""
    x, y = _grid()
    along = math.cos(angle) * x - math.sin(angle) * y
    across = math.sin(angle) * x + math.cos(angle) * y
    variance = sigma**2
    envelope = torch.exp(-(along**2) / (2 * (ELONGATION * sigma) ** 2))
    bell = torch.exp(-(across**2) / (2 * variance))
    slope = -across / variance if order == 1 else (across**2 - variance) / variance**2
    return envelope * bell * slope


def _laplacian(sigma: float) -> Tensor:
    x, y = _grid()
    squared = x**2 + y**2
    return (squared - 2 * sigma**2) / sigma**4 * torch.exp(-squared / (2 * sigma**2))


def _gaussian(sigma: float) -> Tensor:
    x, y = _grid()
    bell = torch.exp(-(x**2 + y**2) / (2 * sigma**2))
    return bell / bell.sum()


def _balanced(kernel: Tensor) -> Tensor:
    kernel = kernel - kernel.mean()
    return kernel / kernel.abs().sum()


class FilterBank(nn.Module):
    """Applies fixed kernels, float32 [K, S, S], to gray images; returns K maps of the same size.

    The image is mirrored at its borders, because zeros would create edges there.
    """

    def __init__(self, kernels: Tensor) -> None:
        super().__init__()
        count, side, _ = kernels.shape
        self.filters = nn.Conv2d(
            1, count, side, padding=side // 2, padding_mode="reflect", bias=False
        )
        self.filters.weight = nn.Parameter(kernels[:, None], requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Filter images, float32 [N, 1, H, W]; return float32 [N, K, H, W]."""
        filtered: Tensor = self.filters(images)
        return filtered


def edge_filters(classes: int, channels: int) -> nn.Module:
    """Return the bank of the edge kernels."""
    return FilterBank(edge_kernels())


def leung_malik(classes: int, channels: int) -> nn.Module:
    """Return the bank of Leung and Malik."""
    return FilterBank(leung_malik_kernels())
