import pytest
import torch

from convscope.exporter.architectures import find_architecture
from convscope.exporter.conversion.stages import find_stages
from convscope.exporter.preprocessing import TensorInput


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet18", ("relu", "layer1", "layer2", "layer3", "layer4")),
        ("signal_conv", ("stage1.2", "stage2.2", "stage3.2", "stage3.3")),
    ],
)
def test_the_last_module_of_each_resolution_is_a_stage(name: str, stages: tuple[str, ...]) -> None:
    row = find_architecture(name)
    expects = row.preprocessing()
    shape = expects.shape if isinstance(expects, TensorInput) else (3, 64, 64)
    assert find_stages(row.build(3), torch.zeros(1, *shape)) == stages
