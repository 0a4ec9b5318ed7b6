"""What a network computes at each resolution."""

from pathlib import Path

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from convscope.exporter.architectures.resolve import DeclaredInput, resolve
from convscope.exporter.conversion.graph import ServableNetwork, export_graph
from convscope.exporter.errors import NetworkError
from convscope.exporter.pyramid.facts import feature_map_facts
from convscope.exporter.pyramid.levels import NetworkLevel, NetworkPyramid
from convscope.exporter.pyramid.measuring import measure_pyramid


def pyramid_of(name: str, shape: str | None = None) -> NetworkPyramid:
    return measure_pyramid(resolve(name, DeclaredInput(shape)))


def written(folder: Path, forward: str, layers: str) -> str:
    """Write a network of a user, and return its name for a command."""
    path = folder / "mine.py"
    path.write_text(
        "import torch\nfrom torch import nn\n\n\nclass Mine(nn.Module):\n"
        f"    def __init__(self):\n        super().__init__()\n        {layers}\n\n"
        f"    def forward(self, x):\n        {forward}\n"
    )
    return f"{path}:Mine"


# The figures of the papers and of torchvision's documentation.
@pytest.mark.parametrize(
    ("name", "parameters", "giga_multiply_adds"),
    [
        ("vgg16", 138_357_544, 15.47),
        ("resnet50", 25_557_032, 4.09),
        ("inception_v3", 23_834_568, 5.71),
        ("mobilenet_v1", 4_231_976, 0.57),
        ("mobilenet_v2", 3_504_872, 0.30),
        ("mobilenet_v3_large", 5_483_032, 0.22),
    ],
)
def test_the_totals_are_the_published_ones(
    name: str, parameters: int, giga_multiply_adds: float
) -> None:
    pyramid = pyramid_of(name)
    assert pyramid.parameters == parameters
    assert round(pyramid.multiply_adds / 1e9, 2) == giga_multiply_adds


def test_the_levels_of_lenet() -> None:
    levels = pyramid_of("lenet").levels
    assert levels == (
        NetworkLevel((32, 32), 3),
        NetworkLevel((28, 28), 6, 28 * 28 * 6 * 75, 6 * 76),
        NetworkLevel((14, 14), 6),
        NetworkLevel((10, 10), 16, 100 * 16 * 150, 16 * 151),
        NetworkLevel((5, 5), 16),
        NetworkLevel(
            (1, 1),
            120,
            120 * 400 + 64 * 120 + 10 * 64,
            120 * 401 + 64 * 121 + 10 * 65,
        ),
    )


@pytest.mark.parametrize("name", ["lenet", "signal_conv", "clip_conv"])
def test_the_totals_are_those_of_the_exported_graph(name: str) -> None:
    row = resolve(name, DeclaredInput())
    pyramid = measure_pyramid(row)
    is_image = len(pyramid.input) == 3
    constants = (0.5,) if is_image else ()
    network = ServableNetwork(row.build(10), constants, constants, {})
    channels, *sizes = pyramid.input
    shape = (1, *sizes, channels) if is_image else (1, channels, *sizes)
    example = torch.zeros(shape, dtype=torch.uint8 if is_image else torch.float32)
    facts = feature_map_facts(export_graph(network, example).model, ["logits"])["logits"]
    assert pyramid.multiply_adds == facts.multiply_adds
    # The export may fold the scale and the bias of a batch normalization into a convolution.
    normalized = sum(
        2 * one.num_features for one in row.build(10).modules() if isinstance(one, _BatchNorm)
    )
    assert pyramid.parameters - facts.parameters in (0, normalized)


def test_inception_has_levels_that_differ_by_a_border() -> None:
    sides = [level.sizes[0] for level in pyramid_of("inception_v3").levels]
    assert sides == [299, 149, 147, 73, 71, 35, 17, 8, 1]


def test_squeeze_and_excitation_belongs_to_its_resolution(tmp_path: Path) -> None:
    name = written(
        tmp_path,
        "y = self.first(x); y = y * self.squeeze(y.mean((2, 3), True)); "
        "return self.dense(self.last(y).mean((2, 3)))",
        "self.first, self.squeeze, self.last = (nn.Conv2d(n, 8, 1) for n in (3, 8, 8)); "
        "self.dense = nn.Linear(8, 4)",
    )
    (inner, head) = pyramid_of(name, "3x16x16").levels
    assert inner == NetworkLevel((16, 16), 8, 256 * (24 + 64) + 64, 8 * (4 + 9 + 9))
    assert head == NetworkLevel((1, 1), 4, 32, 36)


def test_a_shared_weight_counts_once(tmp_path: Path) -> None:
    name = written(
        tmp_path,
        "return self.conv(self.conv(x)).mean((2, 3))",
        "self.conv = nn.Conv2d(3, 3, 3, padding=1)",
    )
    pyramid = pyramid_of(name, "3x16x16")
    assert pyramid.parameters == 3 * 28
    assert pyramid.multiply_adds == 2 * 256 * 3 * 27


def test_a_transposed_convolution_counts_its_input(tmp_path: Path) -> None:
    name = written(
        tmp_path, "return self.up(x).mean((2, 3))", "self.up = nn.ConvTranspose2d(3, 5, 2, 2)"
    )
    assert pyramid_of(name, "3x8x8").multiply_adds == 3 * 64 * 5 * 4


def test_a_network_that_reads_its_numbers_is_measured_too(tmp_path: Path) -> None:
    """PyTorch's meta device has no numbers."""
    name = written(
        tmp_path,
        "return self.conv(x * float(x.max() > 0)).mean((2, 3))",
        "self.conv = nn.Conv2d(3, 4, 3)",
    )
    assert pyramid_of(name, "3x8x8").multiply_adds == 36 * 4 * 27


def test_a_network_that_does_not_run_is_an_error(tmp_path: Path) -> None:
    name = written(tmp_path, "return self.conv(x)", "self.conv = nn.Conv2d(5, 4, 3)")
    with pytest.raises(NetworkError, match=r"doesn't run on an input \[3, 8, 8\]"):
        pyramid_of(name, "3x8x8")


def test_a_layer_of_positions_in_the_last_axis_is_at_their_resolution() -> None:
    """ConvNeXt's blocks multiply matrices whose rows are positions."""
    levels = {level.sizes: level for level in pyramid_of("timm/convnext_atto").levels}
    assert levels[(7, 7)].channels == 4 * 320
    assert levels[(7, 7)].multiply_adds > 1e8 / 4
    assert levels[(1, 1)].multiply_adds == 320 * 1000


def test_a_transformer_has_no_pyramid() -> None:
    with pytest.raises(NetworkError, match=r"of timm/test_vit are matrix products whose resol"):
        pyramid_of("timm/test_vit")


def test_a_network_that_is_not_convolutional_runs_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The meta device knows that already; a run with numbers would take its memory and time."""
    name = written(
        tmp_path,
        "print('run'); y = x.flatten(2); return y @ y.transpose(1, 2)",
        "self.unused = nn.Linear(1, 1)",
    )
    with pytest.raises(NetworkError, match="only convolutional networks have a pyramid"):
        pyramid_of(name, "3x16x16")
    assert capsys.readouterr().out == "run\n"
