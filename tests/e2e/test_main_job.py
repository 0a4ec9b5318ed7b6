"""The main task: the exporter makes bundles, the server runs them, the client calls them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.server import ServerProcess

from convscope.client import Client, FeatureMapSelection, Tensor
from convscope.exporter.architectures import find_architecture
from convscope.exporter.architectures.weights import load_efficientnet_lite0
from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.conversion.parity import run_torch

PARITY = 1e-3

pytestmark = [
    pytest.mark.slow(seconds=1),
    pytest.mark.one_transport("exports networks for a minute; other tests make the same calls"),
]


@pytest.fixture
def client(demo_server: ServerProcess) -> Client:
    return Client(demo_server.target)


def test_the_photo_is_classified_as_an_espresso(client: Client, coffee: Path) -> None:
    result = client.classify(coffee, model="efficientnet_lite0")
    assert result.top.label == "espresso"
    assert result.top.probability >= 0.90
    assert (result.version, result.provider, len(result.classes)) == (1, "cpu", 5)


def test_every_digit_is_recognized(client: Client, digits: list[Path]) -> None:
    results = client.classify_many(digits, model="digits")
    assert [result.top.label for result in results] == list("0123456789")


@pytest.fixture(scope="module")
def pytorch() -> ServableNetwork:
    """EfficientNet-Lite0 in PyTorch, with the same weights as the bundle."""
    row = find_architecture("efficientnet_lite0")
    network = row.build(1000)
    load_efficientnet_lite0(network)
    preprocessing = row.preprocessing()
    return ServableNetwork(
        network, preprocessing.mean, preprocessing.std, {name: name for name in row.feature_maps}
    )


def pixels_of(photo: Path) -> NDArray[np.uint8]:
    return find_architecture("efficientnet_lite0").preprocessing().prepare(photo.read_bytes())


@pytest.mark.parametrize("sent_as", ["file", "tensor"])
def test_every_feature_map_equals_pytorchs(
    client: Client, pytorch: ServableNetwork, coffee: Path, sent_as: str
) -> None:
    pixels = pixels_of(coffee)  # uint8 [224, 224, 3]
    expected = run_torch(pytorch, pixels[np.newaxis])
    names = pytorch.feature_map_names
    image = coffee if sent_as == "file" else Tensor(pixels)
    result = client.classify(image, model="efficientnet_lite0", feature_maps=names)
    assert tuple(result.feature_maps) == names
    for name in names:
        ours, theirs = result.feature_maps[name].array, expected[name][0]
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= PARITY * np.abs(theirs).max(), name


def test_a_selection_is_a_part_of_the_whole_feature_map(client: Client, coffee: Path) -> None:
    def ask(selection: str | FeatureMapSelection) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        result = client.classify(coffee, model="efficientnet_lite0", feature_maps=[selection])
        feature_map = result.feature_maps["blocks.2"]
        return feature_map.array, feature_map.channels

    whole, channels = ask("blocks.2")  # float32 [40, 28, 28]
    assert channels == tuple(range(40))
    chosen, _ = ask(FeatureMapSelection("blocks.2", channels=[7, 3]))
    np.testing.assert_array_equal(chosen, whole[[7, 3]])
    strongest, indices = ask(FeatureMapSelection("blocks.2", strongest=4))
    np.testing.assert_array_equal(strongest, whole[list(indices)])
    assert list(indices) == np.argsort(-whole.mean(axis=(1, 2)), kind="stable")[:4].tolist()
    mean, _ = ask(FeatureMapSelection("blocks.2", mean=True))
    np.testing.assert_allclose(mean[0], whole.mean(axis=0), atol=1e-5)
    coarse, _ = ask(FeatureMapSelection("blocks.2", dtype="uint8"))
    assert np.abs(coarse - whole).max() <= (whole.max() - whole.min()) / 255


def test_classes_are_the_same_with_and_without_feature_maps(client: Client, coffee: Path) -> None:
    plain = client.classify(coffee, model="efficientnet_lite0")
    looking = client.classify(coffee, model="efficientnet_lite0", feature_maps=["blocks.6"])
    assert [c.label for c in plain.classes] == [c.label for c in looking.classes]
    np.testing.assert_allclose(
        [c.probability for c in plain.classes],
        [c.probability for c in looking.classes],
        atol=1e-5,
    )


def test_concurrent_requests_have_the_results_of_single_requests(
    client: Client, coffee: Path
) -> None:
    rotated = [np.rot90(pixels_of(coffee), turn).copy() for turn in range(4)]
    alone = [
        client.classify(Tensor(image), model="efficientnet_lite0").top.probability
        for image in rotated
    ]
    concurrent = client.classify_many(
        [Tensor(image) for _ in range(8) for image in rotated],
        model="efficientnet_lite0",
        window=32,
    )
    np.testing.assert_allclose(
        [result.top.probability for result in concurrent], alone * 8, atol=1e-4
    )


def test_the_models_are_described(client: Client) -> None:
    assert [summary.model for summary in client.models()] == ["digits", "efficientnet_lite0"]
    info = client.model("efficientnet_lite0")
    assert info.input.shape == (224, 224, 3)
    assert info.labels[967] == "espresso"
    assert info.provenance.weights_license == "Apache-2.0"
    assert [(m.name, m.channels, m.stride) for m in info.feature_maps][::3] == [
        ("blocks.0", 16, 2),
        ("blocks.3", 80, 16),
        ("blocks.6", 320, 32),
    ]


def test_torch_is_not_needed_to_know_the_accuracy(client: Client) -> None:
    accuracy = client.model("digits").provenance.metrics[0]
    assert accuracy.name == "top1_accuracy"
    assert accuracy.value >= 0.98
    assert torch.__version__.startswith(client.model("digits").provenance.torch_version[:3])
