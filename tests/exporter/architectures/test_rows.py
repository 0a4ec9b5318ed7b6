import math

import pytest
import timm
import torch
from torchvision import models

from convscope.exporter.architectures import ARCHITECTURES, find_architecture
from convscope.exporter.errors import UnknownNameError
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.preprocessing.resizing import ShortestEdge

REQUIRED = {
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


def test_every_required_network_has_a_row() -> None:
    assert set(ARCHITECTURES) >= REQUIRED


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
def test_teaching_networks_have_their_parameters(name: str, channels: int, count: int) -> None:
    assert parameters(name, channels) == count


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet51", "resnet50"),
        ("vgg", "did you mean vgg"),
        ("timm/convnext_ato", "timm/convnext_atto"),
        ("efficientnet_light0", "efficientnet_lite0"),
    ],
)
def test_an_unknown_network_lists_similar_names(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=near):
        find_architecture(name)


def test_a_name_without_similar_ones_points_to_the_list() -> None:
    with pytest.raises(UnknownNameError, match="convscope-exporter list"):
        find_architecture("qqqqqqqq")


def test_a_timm_network_has_the_input_of_its_configuration() -> None:
    expects = find_architecture("timm/convnext_atto").preprocessing()
    record = timm.get_pretrained_cfg("convnext_atto")
    assert isinstance(expects, ImagePreprocessing)
    assert (expects.channels, expects.height, expects.width) == record.input_size
    assert expects.resize == ShortestEdge(math.floor(expects.height / record.crop_pct))
    assert (expects.mean, expects.std) == (record.mean, record.std)
    assert expects.interpolation == record.interpolation


@pytest.mark.parametrize("name", ["inception_v3", "resnet50", "vgg16_bn", "mobilenet_v3_large"])
def test_a_torchvision_network_has_the_input_of_its_weights(name: str) -> None:
    expects = find_architecture(name).preprocessing()
    rule = models.get_model_weights(name).DEFAULT.transforms()
    assert isinstance(expects, ImagePreprocessing)
    assert expects.height == rule.crop_size[0]
    assert expects.resize == ShortestEdge(rule.resize_size[0])
    assert (list(expects.mean), list(expects.std)) == (rule.mean, rule.std)


@pytest.mark.parametrize("name", [row.name for row in ARCHITECTURES.values() if row.size])
def test_the_listed_size_equals_the_librarys(name: str) -> None:
    row = find_architecture(name)
    expects = row.preprocessing()
    assert isinstance(expects, ImagePreprocessing)
    assert row.size == (expects.height, expects.width)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_tensors_of_auxiliary_heads_are_ignored(name: str) -> None:
    row = find_architecture(name)
    with torch.device("meta"):
        published = models.get_model(name, weights=None, aux_logits=True, init_weights=False)
        own = row.build(1000).state_dict()
    names = {key for key in published.state_dict() if not key.startswith(row.ignored)}
    assert names == set(own)
