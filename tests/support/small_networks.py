"""Small PyTorch networks with every kind of end."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convscope.exporter.architectures.weights import Weights
from convscope.exporter.conversion.golden import golden_noise
from convscope.exporter.conversion.source import Source
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.preprocessing.resizing import ShortestEdge

SIDE = 16


class SmallNetwork(nn.Module):
    """One convolution and a dense layer, whose results differ clearly between images."""

    def __init__(self, outputs: int = 3, end: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.dense = nn.Linear(8, outputs)
        self.end = end or nn.Identity()
        with torch.no_grad():
            self.dense.weight *= 20

    def forward(self, planes: Tensor) -> Tensor:
        output: Tensor = self.end(self.dense(self.conv(planes).relu().mean((2, 3))))
        return output


class End(nn.Module):
    """A function of the dense layer's result."""

    def __init__(self, function: str) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        match self.function:
            case "written sigmoid":
                return 1 / (1 + torch.exp(-values))
            case "written softmax":
                powers = values.exp()
                return powers / powers.sum(1, keepdim=True)
            case "squeezed":
                return values.squeeze(1)
            case "squeezed sigmoid":
                return values.sigmoid().flatten()
            case "groups":
                return values.reshape(-1, 2, 3).softmax(2).flatten(1)
            case "unequal groups":
                return torch.cat([values[:, :2].softmax(1), values[:, 2:].softmax(1)], 1)
            case "batch softmax":
                return values.softmax(0)
            case "tanh":
                return values.tanh()
            case "batch mean":
                return values - values.mean(0, keepdim=True)
            case "standardized":
                return (values - values.mean()) / values.std()
        raise ValueError(self.function)


class Apply(nn.Module):
    """Any function of the dense layer's result."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> object:
        return self.function(values)


class Standardizing(SmallNetwork):
    """Divides each image by its standard deviation, which is 0 for one color."""

    def forward(self, planes: Tensor) -> Tensor:
        deviation = planes.std((1, 2, 3), keepdim=True)
        return super().forward((planes - planes.mean((1, 2, 3), keepdim=True)) / deviation)


class TrainingBatchNorm(SmallNetwork):
    """Uses the statistics of the batch even in evaluation mode."""

    def forward(self, planes: Tensor) -> Tensor:
        return super().forward(
            nn.functional.batch_norm(planes, torch.zeros(3), torch.ones(3), training=True)
        )


def network_source(network: nn.Module, classes: int = 3) -> Source:
    expects = ImagePreprocessing(SIDE, SIDE, (0.5,) * 3, (0.25,) * 3, resize=ShortestEdge(SIDE))
    return Source(
        model="small",
        version=1,
        architecture="small",
        network=network,
        preprocessing=expects,
        labels=tuple(f"class {index}" for index in range(classes)),
        feature_maps=("conv",),
        weights=Weights("random", "", ""),
        golden=golden_noise(expects),
    )
