from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from google.protobuf import json_format
from support.bundles import check_bundle
from support.small_networks import SmallNetwork, network_source
from torch import Tensor, nn

from convscope.bundle.errors import PublishError
from convscope.exporter.architectures import find_architecture
from convscope.exporter.architectures.weights import Weights
from convscope.exporter.bundles.reader import open_bundle, open_unexplained
from convscope.exporter.conversion.convert import Conversion, convert
from convscope.exporter.conversion.golden import golden_noise
from convscope.exporter.conversion.graph import ExportedGraph, ServableNetwork, export_graph
from convscope.exporter.conversion.source import Source
from convscope.exporter.errors import ExplanationError, ExporterError, ParityError, UnknownNameError
from convscope.v1 import manifest_pb2 as pb


def manifest_of(directory: Path) -> pb.ModelManifest:
    return json_format.Parse((directory / "manifest.json").read_text(), pb.ModelManifest())


def test_the_bundles_graph_fulfills_the_contract(source: Source, converted: Conversion) -> None:
    directory = converted.directory
    assert directory.parts[-2:] == ("digits", "1")
    graph = onnx.load(directory / "model.onnx", load_external_data=False)
    images, classes = graph.graph.input
    assert (images.name, classes.name) == ("images", "classes")
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [output.name for output in graph.graph.output] == [
        "logits",
        "probabilities",
        *source.feature_maps,
        "heat",
        "heat_classes",
    ]


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_graph_computes_the_same_as_pytorch_for_any_batch(
    source: Source, converted: Conversion, batch: int
) -> None:
    session = open_unexplained(open_bundle(converted.directory))
    images = np.random.default_rng(batch).integers(0, 256, (batch, 28, 28, 1), dtype=np.uint8)
    (logits,) = session.run(["logits"], {"images": images})
    planes = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        expected = source.network.eval()((planes - 0.1307) / 0.3081)
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)


def test_the_manifest_describes_the_bundle(converted: Conversion) -> None:
    manifest = manifest_of(converted.directory)
    assert (manifest.model, manifest.version, manifest.schema_version) == ("digits", 1, 2)
    assert list(manifest.input.shape) == [28, 28, 1]
    assert list(manifest.labels) == list("0123456789")
    conv2 = manifest.feature_maps[2]
    assert (conv2.name, conv2.channels, conv2.height, conv2.width) == ("conv2", 20, 8, 8)
    assert manifest.provenance.parameters == 8_490
    assert {file.name for file in manifest.files} == {"model.onnx", "golden.npz"}


def test_the_graph_contains_no_path_of_this_machine(converted: Conversion) -> None:
    content = (converted.directory / "model.onnx").read_bytes()
    assert b".py" not in content
    assert str(Path.cwd()).encode() not in content


def test_a_graph_that_differs_from_pytorch_is_rejected(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_other_weights(
        network: ServableNetwork, example: Tensor, input_name: str
    ) -> ExportedGraph:
        graph = export_graph(network, example, input_name)
        with torch.no_grad():
            next(network.parameters()).mul_(1.01)
        return graph

    monkeypatch.setattr("convscope.exporter.conversion.convert.export_graph", export_other_weights)
    with pytest.raises(ParityError, match=r"differs from PyTorch in .*'conv1' by \d"):
        convert(source, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_network_that_returns_nan_is_rejected(source: Source, tmp_path: Path) -> None:
    with torch.no_grad():
        next(source.network.parameters()).fill_(float("nan"))
    with pytest.raises(ExporterError, match="NaN or infinity for every image"):
        convert(source, tmp_path)


def test_an_unknown_module_is_named(source: Source, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no module 'conv9'; did you mean conv2 or conv1"):
        convert(replace(source, feature_maps=("conv9",)), tmp_path)


def test_a_module_without_planes_is_rejected_as_feature_map(source: Source, tmp_path: Path) -> None:
    with pytest.raises(ExporterError, match=r"'flatten' is \[1, 320\]"):
        convert(replace(source, feature_maps=("flatten",)), tmp_path)


def test_a_published_version_never_changes(source: Source, converted: Conversion) -> None:
    manifest = converted.directory / "manifest.json"
    before = manifest.read_bytes()
    with pytest.raises(PublishError, match=r"digits v1 exists.*publish v2"):
        convert(source, converted.directory.parents[1])
    assert manifest.read_bytes() == before


def test_an_in_place_activation_does_not_change_a_feature_map(
    source: Source, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    network = nn.Sequential()
    network.add_module("conv", nn.Conv2d(1, 4, 3))
    network.add_module("relu", nn.ReLU(inplace=True))
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("dense", nn.Linear(4, 10))
    directory = convert(
        replace(source, network=network, feature_maps=("conv",)), tmp_path
    ).directory
    session = open_unexplained(open_bundle(directory))
    images = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1), dtype=np.uint8)
    (conv,) = session.run(["conv"], {"images": images})
    assert conv.min() < 0


def test_the_graph_explains_its_classes_as_pytorch_does(converted: Conversion) -> None:
    assert converted.explanation.startswith("heat      4 × 4 for each class, from the tensor")
    assert converted.explanation.endswith("from PyTorch's gradient")
    bundle, _, golden = check_bundle(converted.directory)
    spec = bundle.manifest.explanation
    assert (spec.channels, list(spec.positions), spec.linear) == (20, [4, 4], False)
    assert golden.heat is not None
    assert golden.heat.shape == (4, 4, 4)


def test_explanations_can_be_left_out(source: Source, tmp_path: Path) -> None:
    conversion = convert(replace(source, explanations=False), tmp_path)
    assert conversion.explanation == "no explanations: left out"
    bundle, model, _ = check_bundle(conversion.directory)
    assert not bundle.manifest.HasField("explanation")
    assert bundle.manifest.schema_version == 1
    assert [value.name for value in model.graph.input] == ["images"]


@pytest.mark.parametrize(("name", "positions"), [("signal_conv", [32]), ("clip_conv", [2, 4, 4])])
def test_signals_and_clips_are_explained_with_any_statistics(
    tmp_path: Path, name: str, positions: list[int]
) -> None:
    torch.manual_seed(0)
    row = find_architecture(name)
    network, expects = row.build(5), row.preprocessing()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm3d):
            for statistic in (module.running_mean, module.running_var):
                assert statistic is not None
                nn.init.uniform_(statistic, 0.5, 2)
            nn.init.normal_(module.weight)
    source = Source(
        model=name,
        version=1,
        architecture=name,
        network=network,
        preprocessing=expects,
        labels=tuple("abcde"),
        feature_maps=(),
        weights=Weights("random", "", ""),
        golden=golden_noise(expects),
    )
    conversion = convert(source, tmp_path)
    assert conversion.explanation.endswith("from PyTorch's gradient")
    spec = check_bundle(conversion.directory)[0].manifest.explanation
    assert (list(spec.positions), spec.linear) == (positions, True)


@pytest.mark.parametrize("channels", [8, 12])  # with 8, each axis has the same size
def test_a_tensor_with_its_channels_last_is_compared_with_pytorch(
    tmp_path: Path, channels: int
) -> None:
    class ChannelsLast(SmallNetwork):
        def forward(self, planes: Tensor) -> Tensor:
            last = self.conv(planes).relu().permute(0, 2, 3, 1)
            scores: Tensor = self.dense(last.flatten(1).tanh())
            return scores

    network = ChannelsLast()
    network.conv, network.dense = nn.Conv2d(3, channels, 3, 2, 1), nn.Linear(64 * channels, 3)
    line = convert(network_source(network), tmp_path).explanation
    assert line.startswith("heat      8 × 8 for each class, from the tensor 'permute")
    assert line.endswith("from PyTorch's gradient")


WHOLE_MAPS: dict[str, list[nn.Module]] = {
    "dense layers": [
        nn.Conv2d(8, 6, 8),
        nn.ReLU(),
        nn.Conv2d(6, 5, 1),
        nn.Tanh(),
        nn.Conv2d(5, 3, 1),
    ],
    "behind a pool": [nn.AdaptiveAvgPool2d(8), nn.Conv2d(8, 6, 8), nn.ReLU(), nn.Conv2d(6, 3, 1)],
    "groups": [nn.Conv2d(8, 6, 8, groups=2), nn.Tanh(), nn.Conv2d(6, 3, 1)],
    "padded": [nn.Conv2d(8, 6, 9, stride=9, padding=1), nn.Tanh(), nn.Conv2d(6, 3, 1)],
}


@pytest.mark.parametrize("name", WHOLE_MAPS)
def test_a_convolution_over_the_whole_map_is_compared_with_pytorch(
    tmp_path: Path, name: str
) -> None:
    class DenseByConvolutions(SmallNetwork):
        def forward(self, planes: Tensor) -> Tensor:
            scores: Tensor = self.dense(self.conv(planes).relu())
            return scores

    torch.manual_seed(2)
    network = DenseByConvolutions()
    network.conv = nn.Conv2d(3, 8, 3, 2, 1)
    setattr(network, "dense", nn.Sequential(*WHOLE_MAPS[name], nn.Flatten()))  # noqa: B010
    line = convert(network_source(network), tmp_path).explanation
    assert line.startswith("heat      8 × 8 for each class")
    assert line.endswith("from PyTorch's gradient")


def test_indexed_cells_are_no_channels(tmp_path: Path) -> None:
    """The last axis of x[:, :, rows, columns] is one of positions."""

    class Indexed(SmallNetwork):
        def forward(self, planes: Tensor) -> Tensor:
            cells = self.conv(planes).relu()[:, :, [0, 2, 5, 7, 7], [1, 1, 2, 3, 0]]
            scores: Tensor = self.dense((cells * torch.arange(1, 6)).square().mean(2))
            return scores.softmax(1)

    line = convert(network_source(Indexed()), tmp_path).explanation
    assert line.startswith("heat      8 × 8 for each class, from the tensor 'relu'"), line


class Sine(nn.Module):
    """Has an operator without a derivative rule after the last crossed tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, 4)
        self.dense = nn.Linear(4, 10)

    def forward(self, planes: Tensor) -> Tensor:
        logits: Tensor = self.dense(self.conv(planes).relu().mean((2, 3)).sin())
        return logits


def test_a_network_that_can_not_be_explained_is_published_without(
    source: Source, tmp_path: Path
) -> None:
    sine = replace(source, network=Sine(), feature_maps=("conv",))
    conversion = convert(sine, tmp_path)
    reason = "no explanations: operator Sin on the path has no derivative rule"
    assert conversion.explanation == reason
    check_bundle(conversion.directory)
    with pytest.raises(ExplanationError, match=reason):
        convert(replace(sine, version=2, explanations=True), tmp_path)
    assert not (tmp_path / "digits" / "2").exists()


class Functional(nn.Module):
    """Computes the crossed tensor without a module, and overwrites a module's output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, 4)
        self.dense = nn.Linear(4, 10)

    def forward(self, planes: Tensor) -> Tensor:
        features = nn.functional.relu(self.conv(planes), inplace=True)
        logits: Tensor = self.dense(features.mean((2, 3)))
        return logits


def test_a_tensor_that_no_module_returns_is_compared_with_differences(
    source: Source, tmp_path: Path
) -> None:
    network = replace(source, network=Functional(), feature_maps=("conv",))
    line = convert(network, tmp_path).explanation
    assert line.endswith("from central differences")


class Overwriting(nn.Module):
    """An activation in place.

    Args:
        again: Whether its input, which it has overwritten, is used once more.
    """

    def __init__(self, *, again: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3, 4)
        self.limit = nn.ReLU6(inplace=True)
        self.dense = nn.Linear(4, 10)
        self.again = again

    def forward(self, planes: Tensor) -> Tensor:
        features = self.conv(planes)
        limited = self.limit(features)
        logits: Tensor = self.dense((limited + features if self.again else limited).mean((2, 3)))
        return logits


@pytest.mark.parametrize("again", [False, True])
def test_what_an_activation_has_overwritten_may_be_used_again(
    source: Source, tmp_path: Path, again: bool
) -> None:
    """If it isn't, the network is converted out of place, which is faster. The user's stays."""
    own = Overwriting(again=again)
    conversion = convert(replace(source, network=own, feature_maps=("limit",)), tmp_path)
    assert own.limit.inplace
    (converted,) = (one for one in conversion.network.network.modules() if type(one) is nn.ReLU6)
    assert converted.inplace is again
