import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torchvision import models

from convscope.exporter.architectures import ARCHITECTURES, find_architecture
from convscope.exporter.architectures.custom import custom_architecture
from convscope.exporter.architectures.networks.filter_banks import edge_kernels, leung_malik_kernels
from convscope.exporter.conversion.stages import find_stages
from convscope.exporter.errors import ExporterError, NetworkError, UnknownNameError
from convscope.exporter.preprocessing import ImagePreprocessing, TensorInput

Floats = NDArray[np.float64]
THE_LESSONS = {
    *("perceptron", "edge_filters", "leung_malik", "one_conv", "multi_conv", "lenet"),
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("googlenet", "inception_v3", "mobilenet_v1", "mobilenet_v2"),
    *("mobilenet_v3_small", "mobilenet_v3_large"),
    *(f"efficientnet_lite{size}" for size in range(5)),
    *("signal_conv", "clip_conv"),
}


def parameters(name: str, channels: int | None = None) -> int:
    network = find_architecture(name).build(10, channels)
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_network_of_the_lesson_has_a_row() -> None:
    assert set(ARCHITECTURES) >= THE_LESSONS


@pytest.mark.parametrize(
    ("name", "channels", "count"),
    [
        ("perceptron", 1, 7_850),
        ("one_conv", 1, 9 * 26 + 10 * (9 * 24 * 24 + 1)),
        ("multi_conv", 1, 8_490),
        ("lenet", 3, 59_386),
        ("lenet", 1, 59_386 - 2 * 6 * 25),
    ],
)
def test_the_lessons_networks_have_their_parameters(name: str, channels: int, count: int) -> None:
    assert parameters(name, channels) == count


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet51", "resnet50"),
        ("vgg", "vgg11"),
        ("timm/convnext_ato", "timm/convnext_atto"),
        ("efficientnet_light0", "efficientnet_lite0"),
    ],
)
def test_an_unknown_network_lists_near_ones(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=near):
        find_architecture(name)


def test_an_outlandish_name_points_to_the_list() -> None:
    with pytest.raises(UnknownNameError, match="convscope-exporter list"):
        find_architecture("qqqqqqqq")


def test_any_network_of_timm_has_the_input_of_its_own_record() -> None:
    expects = find_architecture("timm/convnext_atto").preprocessing()
    record = timm.get_pretrained_cfg("convnext_atto")
    assert isinstance(expects, ImagePreprocessing)
    assert (expects.channels, expects.height, expects.width) == record.input_size
    assert expects.shortest_edge == math.floor(expects.height / record.crop_pct)
    assert (expects.mean, expects.std) == (record.mean, record.std)
    assert expects.interpolation == record.interpolation


@pytest.mark.parametrize("name", ["inception_v3", "resnet50", "vgg16_bn", "mobilenet_v3_large"])
def test_torchvisions_networks_have_the_input_of_their_own_record(name: str) -> None:
    expects = find_architecture(name).preprocessing()
    rule = models.get_model_weights(name).DEFAULT.transforms()
    assert isinstance(expects, ImagePreprocessing)
    assert (expects.height, expects.shortest_edge) == (rule.crop_size[0], rule.resize_size[0])
    assert (list(expects.mean), list(expects.std)) == (rule.mean, rule.std)


@pytest.mark.parametrize("name", [row.name for row in ARCHITECTURES.values() if row.size])
def test_the_listed_size_is_that_of_the_librarys_record(name: str) -> None:
    row = find_architecture(name)
    expects = row.preprocessing()
    assert isinstance(expects, ImagePreprocessing)
    assert row.size == (expects.height, expects.width)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_tensors_of_heads_for_training_are_left_out(name: str) -> None:
    row = find_architecture(name)
    with torch.device("meta"):
        published = models.get_model(name, weights=None, aux_logits=True, init_weights=False)
        own = row.build(1000).state_dict()
    names = {key for key in published.state_dict() if not key.startswith(row.ignored)}
    assert names == set(own)


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


# The filter banks, against their definitions written another way.


def test_the_edge_kernels_answer_to_a_step_of_one_direction_only() -> None:
    step = torch.zeros(9, 9)
    step[:, 5:] = 1  # brighter to the right
    answers = torch.nn.functional.conv2d(step[None, None], edge_kernels()[:, None])[0]
    assert answers[0].max() == 3
    assert answers[1].abs().max() == 0
    turned = torch.nn.functional.conv2d(step.T[None, None], edge_kernels()[:, None])[0]
    assert torch.equal(turned[1], answers[0].T)


def numeric(kernel: Floats) -> Floats:
    balanced: Floats = kernel - kernel.mean()
    scaled: Floats = balanced / np.abs(balanced).sum()
    return scaled


def gaussian(x: Floats, y: Floats, wide: float, high: float) -> Floats:
    bell: Floats = np.exp(-(x**2) / (2 * wide**2) - y**2 / (2 * high**2))
    return bell


@pytest.mark.parametrize("scale", range(3))
@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("order", [1, 2])
def test_a_leung_malik_filter_is_the_derivative_of_a_turned_gaussian(
    scale: int, step: int, order: int
) -> None:
    sigma, angle, tiny = math.sqrt(2) ** (scale + 1), math.pi * step / 6, 1e-3
    rows, columns = np.mgrid[24:-25:-1, -24:25].astype(float)

    def turned(shift: float) -> Floats:
        along = math.cos(angle) * columns - math.sin(angle) * rows
        across = math.sin(angle) * columns + math.cos(angle) * rows + shift
        return gaussian(along, across, 3 * sigma, sigma)

    derivative = (
        turned(tiny) - turned(-tiny) if order == 1 else turned(tiny) - 2 * turned(0) + turned(-tiny)
    )
    found = leung_malik_kernels()[18 * (order - 1) + 6 * scale + step].numpy()
    np.testing.assert_allclose(found, numeric(derivative), atol=2e-6)


def test_the_rest_of_leung_malik_are_laplacians_and_gaussians() -> None:
    rows, columns = np.mgrid[24:-25:-1, -24:25].astype(float)
    bank = leung_malik_kernels().numpy()
    sigmas = [math.sqrt(2) ** power for power in (1, 2, 3, 4)]
    for index, sigma in enumerate([*sigmas, *(3 * one for one in sigmas)]):
        bell = gaussian(columns, rows, sigma, sigma)
        laplacian = (rows**2 + columns**2 - 2 * sigma**2) / sigma**4 * bell
        np.testing.assert_allclose(bank[36 + index], numeric(laplacian), atol=1e-7)
    for index, sigma in enumerate(sigmas):
        bell = gaussian(columns, rows, sigma, sigma)
        np.testing.assert_allclose(bank[44 + index], bell / bell.sum(), atol=1e-7)


def test_the_bank_has_48_filters_of_49_by_49_without_a_mean_but_for_the_gaussians() -> None:
    bank = leung_malik_kernels()
    assert bank.shape == (48, 49, 49)
    assert bank[:44].mean(dim=(1, 2)).abs().max() < 1e-7
    torch.testing.assert_close(bank.abs().sum(dim=(1, 2)), torch.ones(48))


# Networks of the user's own.

IMAGES = ImagePreprocessing(height=8, width=8, mean=(0.0,) * 3, std=(1.0,) * 3)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_a_factory_is_told_the_classes_and_channels_if_it_asks(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "from torch import nn\n"
        "def tiny(num_classes, in_channels=1):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))\n",
    )
    row = custom_architecture(f"{path}:tiny", IMAGES)
    assert row.name == "tiny"
    assert row.build(7)(torch.zeros(2, 3, 8, 8)).shape == (2, 7)


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "blocks_of_mine.py").write_text("from torch.nn import Flatten as Block\n")
    path = write(tmp_path, "from blocks_of_mine import Block\n\ndef net():\n    return Block()\n")
    custom_architecture(f"{path}:net", IMAGES).build(2)


@pytest.mark.parametrize(
    ("text", "factory", "reason"),
    [
        ("x = 1\n", "", "names no factory"),
        ("def other():\n    pass\n", "net", "has no factory 'net'; it has: other"),
        ("1 / 0\n", "net", "can't be run: ZeroDivisionError"),
        ("def net():\n    return 3\n", "net", "gave a int, not an nn.Module"),
        ("def net():\n    raise KeyError('x')\n", "net", "failed: KeyError"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, text: str, factory: str, reason: str
) -> None:
    name = f"{write(tmp_path, text)}:{factory}".rstrip(":")
    with pytest.raises(NetworkError, match=reason):
        custom_architecture(name, IMAGES).build(2)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"no file .*absent\.py"):
        custom_architecture(f"{tmp_path}/absent.py:net", IMAGES)


def test_channels_that_no_conversion_gives_are_refused() -> None:
    lenet = find_architecture("lenet")
    assert [lenet.fitting_channels(count) for count in (1, 3)] == [1, 3]
    assert find_architecture("resnet18").fitting_channels(1) == 3
    with pytest.raises(ExporterError, match="takes 3 or 1 channels, and the dataset has 4"):
        lenet.fitting_channels(4)
