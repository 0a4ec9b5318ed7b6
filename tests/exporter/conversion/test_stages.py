"""The modules that end a stage of the pyramid."""

import pytest
import torch
from torch import Tensor, nn

from convscope.exporter.architectures import find_architecture
from convscope.exporter.conversion.stages import find_stages
from convscope.exporter.preprocessing import TensorInput


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet18", ("relu", "layer1", "layer2", "layer3", "layer4")),
        ("signal_conv", ("stage1.2", "stage2.2", "stage3.2", "stage3.3")),
        (
            "timm/edgenext_xx_small",
            (*(f"stages.{stage}.downsample.0" for stage in (1, 2, 3)), "stages.3.blocks"),
        ),
    ],
)
def test_the_last_module_of_each_resolution_is_a_stage(name: str, stages: tuple[str, ...]) -> None:
    row = find_architecture(name)
    expects = row.preprocessing()
    shape = expects.shape if isinstance(expects, TensorInput) else (3, 64, 64)
    assert find_stages(row.build(3), torch.zeros(1, *shape)) == stages


def test_convnext_of_torchvision_has_no_stage_with_channels_last() -> None:
    """Its blocks compute in [N, H, W, C]; GELU there is no map of H channels, W x C."""
    from torchvision.models import convnext_tiny

    stages = find_stages(convnext_tiny(weights=None), torch.zeros(1, 3, 64, 64))
    assert stages == ("features.2.0", "features.4.0", "features.6.0", "features.7")


def test_shufflenet_has_no_stage_that_is_one_of_two_branches() -> None:
    from torchvision.models import shufflenet_v2_x0_5

    stages = find_stages(shufflenet_v2_x0_5(weights=None), torch.zeros(1, 3, 64, 64))
    assert stages == ("conv1", "maxpool", "stage2", "stage3", "conv5")


class Blocks(nn.Module):
    """Two resolutions, each with a block that moves the channels to the last axis."""

    def __init__(self, *, fixed_size: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.dense = nn.Linear(8, 6)
        self.act = nn.ReLU(inplace=True)
        self.back = nn.Linear(6, 8)
        self.down = nn.Conv2d(8, 8, 2, 2)
        self.head = nn.Linear(8 * 16 if fixed_size else 8, 3)
        self.fixed_size = fixed_size

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(planes)
        inner = self.back(self.act(self.dense(x.permute(0, 2, 3, 1))))
        x = self.down(x + inner.permute(0, 3, 1, 2))
        logits = self.head(x.flatten(1) if self.fixed_size else x.mean((2, 3)))
        return logits, logits.softmax(1)


@pytest.mark.parametrize("fixed_size", [False, True])
def test_channels_last_are_recognized(fixed_size: bool) -> None:
    network = Blocks(fixed_size=fixed_size)
    assert find_stages(network, torch.zeros(1, 3, 32, 32)) == ("stem", "down")
    assert all(parameter.requires_grad for parameter in network.parameters())


class Branches(nn.Module):
    """Ends each resolution with a branch that runs last, but computes only a part."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, 2)
        self.left, self.right = (nn.Conv2d(8, 8, 2, 2) for _ in range(2))
        self.join = nn.ReLU()
        self.gate = nn.Conv2d(8, 8, 1)

    def forward(self, planes: Tensor) -> Tensor:
        x = self.stem(planes)
        x = self.join(self.left(x) + self.right(x))
        logits: Tensor = (x + self.gate(x)).mean((2, 3))
        return logits


def test_what_every_path_crosses_is_better_than_what_runs_last() -> None:
    assert find_stages(Branches(), torch.zeros(1, 3, 16, 16)) == ("stem", "join")
