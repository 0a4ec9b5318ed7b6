"""Every network of the registry: exported, served, and compared with PyTorch."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.operators import share_operators
from support.server import ServerProcess
from torch import nn

from convscope.client import Classification, Client, FeatureMap, Tensor
from convscope.exporter.architectures import ARCHITECTURES, Architecture, find_architecture
from convscope.exporter.architectures.custom import custom_architecture
from convscope.exporter.architectures.registry import STAGES
from convscope.exporter.architectures.weights import Weights
from convscope.exporter.conversion.convert import convert
from convscope.exporter.conversion.golden import golden_noise
from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.conversion.parity import run_torch
from convscope.exporter.conversion.source import Source
from convscope.exporter.conversion.stages import find_stages
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.preprocessing.resizing import ShortestEdge

share_operators()

# Tolerances: relative to the largest magnitude, as in the parity gate, and of a probability.
pytestmark = pytest.mark.one_transport("compares the results of networks")

PARITY = 1e-3
PROBABILITY = 1e-4
# The limit of float32 feature maps in one reply, in bytes.
REPLY_BYTES = 14 * 2**20

SMALL = (
    "perceptron",
    "one_conv",
    "multi_conv",
    "digits",
    "lenet",
    "edge_filters",
    "leung_malik",
    "signal_conv",
    "clip_conv",
    "own",
)
TIMM = ("timm/convnext_atto", "timm/regnetx_002", "timm/test_resnet")
# These keep their input size. The other large networks, and the filters of 49×49, get a
# smaller input, which saves time and runs the same operators.
FULL_SIZE = ("mobilenet_v2", "efficientnet_lite0")
SMALLER_SIDE = 64
# The stages of the first need more pixels. The filters of the second take long for each of them.
OTHER_SIDES = {"inception_v3": 96, "leung_malik": 32}
# The export takes as long as the network is deep. The deeper and wider ones of a family repeat the
# modules of a smaller one, which is served for all of them.
SERVED_FOR = {
    **dict.fromkeys(("vgg13", "vgg16", "vgg19"), "vgg11"),
    **dict.fromkeys(("vgg13_bn", "vgg16_bn", "vgg19_bn"), "vgg11_bn"),
    "resnet34": "resnet18",
    **dict.fromkeys(("resnet101", "resnet152"), "resnet50"),
    **{f"efficientnet_lite{index}": "efficientnet_lite0" for index in range(1, 5)},
}
LARGE = (*(name for name in ARCHITECTURES if name not in {*SMALL, *SERVED_FOR}), *TIMM)
SMALLER = tuple(name for name in (*LARGE, "leung_malik") if name not in FULL_SIZE)
# The dense layers of every VGG are the same half a gigabyte. Only vgg11 keeps them.
NARROWER_VGG = "vgg11_bn"
NARROWER_WIDTH = 128

OWN = """
from torch import nn


class Own(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(inplace=True))
        self.head = nn.Linear(8, num_classes)

    def forward(self, images):
        return self.head(self.body(images).mean(dim=(2, 3)))
"""


@dataclass(frozen=True)
class Served:
    """A served network, and the same network in PyTorch."""

    source: Source
    network: ServableNetwork
    explanation: str
    client: Client

    def ask(self, given: NDArray[np.generic], names: tuple[str, ...]) -> Classification:
        return self.client.classify(
            Tensor(given), model=self.source.model, feature_maps=names, timeout_seconds=60
        )


def row_of(name: str, folder: Path) -> Architecture:
    if name != "own":
        return find_architecture(name)
    path = folder / "own.py"
    path.write_text(OWN)
    expects = ImagePreprocessing(height=40, width=48, mean=(0.5,) * 3, std=(0.25,) * 3)
    return custom_architecture(f"{path}:Own", expects)


def source_of(name: str, folder: Path) -> Source:
    """Build the network with random weights. Filter banks have fixed weights."""
    row = row_of(name, folder)
    torch.manual_seed(0)
    labels = tuple(f"class {index}" for index in range(12)) if row.classifies else ()
    expects = row.preprocessing()
    if name in SMALLER and isinstance(expects, ImagePreprocessing):
        side = OTHER_SIDES.get(name, SMALLER_SIDE)
        expects = replace(expects, height=side, width=side, resize=ShortestEdge(side))
    network = row.build(len(labels))
    if name == NARROWER_VGG:
        narrow_dense_layers(network)
    return Source(
        model=name.replace("/", "_"),
        version=1,
        architecture=row.name,
        network=network,
        preprocessing=expects,
        labels=labels,
        feature_maps=row.feature_maps,
        weights=Weights("random", "", ""),
        golden=golden_noise(expects),
    )


def narrow_dense_layers(network: nn.Module) -> None:
    """Replace the dense layers of a VGG by narrower ones with the same inputs and outputs."""
    layers = network.get_submodule("classifier")
    assert isinstance(layers, nn.Sequential)
    dense = {index: layer for index, layer in enumerate(layers) if isinstance(layer, nn.Linear)}
    first, *_, last = dense.values()
    widths = [first.in_features, *[NARROWER_WIDTH] * (len(dense) - 1), last.out_features]
    for index, (given, returned) in zip(dense, pairwise(widths), strict=True):
        layers[index] = nn.Linear(given, returned)


def kinds(network: nn.Module) -> set[str]:
    """Return the modules of a network, except sequences of them, without their widths."""
    own = [one for one in network.modules() if not isinstance(one, (nn.Sequential, type(network)))]
    return {re.sub(r"\d{2,}", "n", repr(module)) for module in own}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Limit PyTorch to one thread, because its threads would compete with the server's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """Export a network and serve it. The server runs all of its gates."""
    source = source_of(request.param, tmp_path)
    conversion = convert(source, tmp_path / "models")
    network, line = conversion.network, conversion.explanation
    with ServerProcess(tmp_path / "models", "--preload-feature-maps") as server:
        yield Served(source, network, line, Client(server.target))
    shutil.rmtree(tmp_path)  # together these are gigabytes, which pytest would keep


def inputs_of(source: Source) -> NDArray[np.generic]:
    """Return a new random input of the graph."""
    random = np.random.default_rng(99)
    shape = source.preprocessing.shape
    if isinstance(source.preprocessing, ImagePreprocessing):
        return random.integers(0, 256, shape, np.uint8)
    return random.normal(size=shape).astype(np.float32)


def check(served: Served) -> None:
    given = inputs_of(served.source)
    expected = run_torch(served.network, given[np.newaxis])
    check_classes(served, served.ask(given, ()), expected)
    check_explanation(served)
    found: dict[str, FeatureMap] = {}
    for names in in_replies(expected, served.network.feature_map_names):
        found |= served.ask(given, names).feature_maps
    assert tuple(found) == served.network.feature_map_names
    for name, feature_map in found.items():
        ours, theirs = feature_map.array, expected[name][0]
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= PARITY * np.abs(theirs).max(), name


def check_classes(
    served: Served, answer: Classification, expected: dict[str, NDArray[np.float32]]
) -> None:
    if not served.source.labels:
        assert answer.classes == ()
        return
    probabilities = expected["probabilities"][0]
    order = np.argsort(-probabilities, kind="stable")[: len(answer.classes)]
    assert len(answer.classes) == 5
    assert answer.top.index == order[0]
    assert answer.top.label == served.source.labels[order[0]]
    np.testing.assert_allclose(
        [one.probability for one in answer.classes], probabilities[order], atol=PROBABILITY
    )


def check_explanation(served: Served) -> None:
    """Check that every classifier explains its classes, which the export compares with PyTorch."""
    assert (
        served.explanation.startswith("heat ") if served.source.labels else not served.explanation
    )


def in_replies(
    outputs: dict[str, NDArray[np.float32]], names: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    """Split the feature maps into as many requests as their sizes require."""
    reply: list[str] = []
    size = 0
    for name in names:
        if reply and size + outputs[name].nbytes > REPLY_BYTES:
            yield tuple(reply)
            reply, size = [], 0
        reply.append(name)
        size += outputs[name].nbytes
    if reply:
        yield tuple(reply)


@pytest.mark.parametrize("served", SMALL, indirect=True)
def test_a_small_network_returns_the_results_of_pytorch(served: Served) -> None:
    check(served)


@pytest.mark.slow(seconds=15)
@pytest.mark.parametrize("served", LARGE, indirect=True)
def test_a_large_network_returns_the_results_of_pytorch(served: Served) -> None:
    check(served)
    assert len(served.network.feature_map_names) >= 4


@pytest.mark.parametrize("name", SERVED_FOR)
def test_a_larger_network_repeats_the_modules_of_a_served_one(name: str) -> None:
    with torch.device("meta"):  # without weights
        row = find_architecture(name)
        network, smaller = row.build(12), find_architecture(SERVED_FOR[name]).build(12)
        assert kinds(network) == kinds(smaller)
        shape = (1, 3, SMALLER_SIDE, SMALLER_SIDE)
        stages = find_stages(network, torch.zeros(shape))
        assert len(stages) == len(find_stages(smaller, torch.zeros(shape))) >= 4
    assert row.feature_maps == (STAGES,)
    assert SERVED_FOR[name] in LARGE


def test_every_network_of_the_registry_is_tested() -> None:
    assert {*SMALL, *LARGE, *SERVED_FOR} >= set(ARCHITECTURES)


def test_a_filter_bank_accepts_an_encoded_photo(tmp_path: Path, coffee: Path) -> None:
    source = source_of("edge_filters", tmp_path)
    convert(source, tmp_path / "models")
    assert isinstance(source.preprocessing, ImagePreprocessing)
    pixels = source.preprocessing.prepare(coffee.read_bytes())[..., 0] / 255  # [224, 224]
    with ServerProcess(tmp_path / "models") as server, Client(server.target) as client:
        answer = client.classify(coffee, model="edge_filters", feature_maps=["edge_filters"])
    vertical, horizontal = answer.feature_maps["edge_filters"].array
    right_less_left = sum(pixels[r : r + 222, 2:] - pixels[r : r + 222, :-2] for r in range(3))
    below_less_above = sum(pixels[2:, c : c + 222] - pixels[:-2, c : c + 222] for c in range(3))
    np.testing.assert_allclose(vertical[1:-1, 1:-1], right_less_left, atol=1e-4)
    np.testing.assert_allclose(horizontal[1:-1, 1:-1], below_less_above, atol=1e-4)
    assert answer.classes == ()


def test_chosen_feature_maps_have_the_chosen_names(tmp_path: Path) -> None:
    source = replace(source_of("lenet", tmp_path), feature_maps=("conv1=edges", "conv3"))
    convert(source, tmp_path / "models")
    with ServerProcess(tmp_path / "models") as server, Client(server.target) as client:
        info = client.model("lenet")
    found = [(one.name, one.channels, one.height) for one in info.feature_maps]
    assert found == [("edges", 6, 28), ("conv3", 120, 1)]
