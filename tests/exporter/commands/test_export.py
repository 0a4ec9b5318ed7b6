"""The command `export`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import json_format
from torch import nn
from typer.testing import CliRunner

from convscope.exporter.architectures import find_architecture
from convscope.exporter.cli import app
from convscope.v1 import manifest_pb2 as pb


def exported(folder: Path, *arguments: str) -> pb.ModelManifest:
    """Export in this process, and read the manifest of the only bundle."""
    done = CliRunner().invoke(app, ["export", *arguments, "--repository", str(folder / "models")])
    assert done.exit_code == 0, done.stderr
    (path,) = (folder / "models").rglob("manifest.json")
    return json_format.Parse(path.read_text(), pb.ModelManifest())


def test_a_file_of_weights_is_exported_with_the_labels_of_a_dataset(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = find_architecture("multi_conv").build(10)
    torch.save(trained.state_dict(), tmp_path / "mine.pth")
    manifest = exported(
        tmp_path, "multi_conv", "--weights", str(tmp_path / "mine.pth"), "--labels", "fashion_mnist"
    )
    assert manifest.labels[0] == "T-shirt/top"
    assert manifest.provenance.weights == "mine.pth"


def test_a_different_number_of_labels_than_classes_is_rejected(tmp_path: Path) -> None:
    torch.save(find_architecture("multi_conv").build(10).state_dict(), tmp_path / "mine.pth")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    files = ("--weights", str(tmp_path / "mine.pth"), "--labels", str(tmp_path / "labels.txt"))
    command = ["export", "multi_conv", *files, "--repository", str(tmp_path / "models")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "mine.pth has 10 classes, but there are 2 labels" in done.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [("lines.txt", "cat\n\ndog\n"), ("names.json", '{"1": ["n2", "dog"], "0": ["n1", "cat"]}')],
)
def test_a_custom_network_is_exported_with_its_labels(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),\n"
        "                         nn.Linear(4, 2))\n"
    )
    own = (f"{tmp_path / 'mine.py'}:Net", "--input", "3x32x48", "--labels", str(tmp_path / name))
    others = ("--random-weights", "--mean", "0.5", "--feature-map", "0=stem")
    manifest = exported(tmp_path, *own, *others)
    assert (manifest.model, list(manifest.labels)) == ("net", ["cat", "dog"])
    assert list(manifest.input.shape) == [32, 48, 3]
    np.testing.assert_allclose(manifest.preprocessing.mean, [0.5] * 3)
    assert [(one.name, one.module) for one in manifest.feature_maps] == [("stem", "0")]


def test_a_custom_network_with_other_classes_than_labels_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\ndef net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))\n"
    )
    own = [f"{tmp_path / 'mine.py'}:net", "--input", "3x4x4", "--labels", "mnist"]
    done = CliRunner().invoke(app, ["export", *own, "--repository", str(tmp_path / "models")])
    assert done.exit_code == 1
    assert "the network has 3 classes, but there are 10 labels" in done.stderr


OWN = """from torch import nn


def fixed():
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))


def usual(num_classes=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(48, num_classes))


def asking(num_classes):
    return usual(num_classes)
"""


@pytest.mark.parametrize(("factory", "classes"), [("fixed", 3), ("usual", 4)])
def test_classes_without_names_are_numbered(tmp_path: Path, factory: str, classes: int) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    own = (f"{tmp_path / 'mine.py'}:{factory}", "--input", "3x4x4", "--random-weights")
    manifest = exported(tmp_path, *own)
    assert list(manifest.labels) == [str(index) for index in range(classes)]


@pytest.mark.parametrize(
    ("factory", "given", "reasons"),
    [
        ("asking", (), ("two more options", "--input 3x224x224", "--labels FILE")),
        ("asking", ("--input", "3x4x4"), ("requires num_classes; name the classes with --labels",)),
        ("asking", ("--labels", "mnist"), ("declare it, such as --input 3x224x224",)),
        ("fixed", (), ("declare it, such as --input 3x224x224",)),
    ],
)
def test_all_missing_options_of_a_custom_network_are_named_at_once(
    tmp_path: Path, factory: str, given: tuple[str, ...], reasons: tuple[str, ...]
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    command = ["export", f"{tmp_path / 'mine.py'}:{factory}", *given]
    done = CliRunner().invoke(app, [*command, "--repository", str(tmp_path / "models")])
    assert done.exit_code == 1
    assert all(reason in done.stderr for reason in reasons), done.stderr
    assert not (tmp_path / "models").exists()


def test_a_filter_bank_needs_neither_weights_nor_labels(tmp_path: Path) -> None:
    manifest = exported(tmp_path, "edge_filters")
    assert manifest.task == pb.TASK_FEATURE_EXTRACTION
    assert (list(manifest.labels), manifest.activation) == ([], pb.ACTIVATION_NONE)
    assert manifest.provenance.weights == "fixed"


def test_a_signals_length_may_be_declared(tmp_path: Path) -> None:
    manifest = exported(tmp_path, "signal_conv", "--random-weights", "--input", "2x100")
    assert (manifest.input.name, list(manifest.input.shape)) == ("signal", [2, 100])
    stage = manifest.feature_maps[1]
    assert (stage.channels, stage.height, stage.width) == (32, 1, 25)


LOADING = """import torch
from torch import nn


def untrained():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3))


def loading():
    network = untrained()
    network.load_state_dict(torch.load({path!r}))
    return network


def new_head():
    network = loading()
    network[3] = nn.Linear(144, 2)
    return network
"""


@pytest.fixture
def own_networks(tmp_path: Path) -> str:
    """A file with an untrained network, one that loads its weights, and one with a new head."""
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3))
    torch.save(nn.Sequential(*layers).state_dict(), tmp_path / "trained.pth")
    file = tmp_path / "mine.py"
    file.write_text(LOADING.format(path=str(tmp_path / "trained.pth")))
    return str(file)


@pytest.mark.parametrize(
    ("factory", "random"),
    [("untrained", "0.weight, 0.bias, 3.weight and 1 more"), ("new_head", "3.weight, 3.bias")],
)
def test_an_untrained_network_of_a_user_is_rejected_with_the_options(
    tmp_path: Path, own_networks: str, factory: str, random: str
) -> None:
    command = ["export", f"{own_networks}:{factory}", "--input", "3x8x8"]
    done = CliRunner().invoke(app, [*command, "--repository", str(tmp_path / "models")])
    assert done.exit_code == 1
    assert f"{factory} is untrained: {random} have random values" in done.stderr
    assert "--weights FILE" in done.stderr
    assert "--random-weights" in done.stderr
    assert not list((tmp_path / "models").rglob("manifest.json"))


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        (("loading",), "set by mine.py:loading"),
        (("untrained", "--random-weights"), "random"),
        (("untrained", "--weights", "trained.pth"), "trained.pth"),
    ],
)
def test_weights_of_a_user_are_loaded_by_the_factory_or_a_file(
    tmp_path: Path,
    own_networks: str,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    weights: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    factory, *others = options
    manifest = exported(tmp_path, f"{own_networks}:{factory}", "--input", "3x8x8", *others)
    assert manifest.provenance.weights == weights


ENDS = """from torch import nn


def softmax():
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3), nn.Softmax(dim=1))


def one():
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 1))


def scaled():
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3), nn.Tanh())
"""


@pytest.mark.parametrize(
    ("factory", "classes", "line"),
    [
        ("softmax", 3, "activation softmax: the network ends in softmax"),
        ("one", 2, "activation binary, sigmoid of one output: applied to the output, a logit"),
    ],
)
def test_the_activation_is_reported(tmp_path: Path, factory: str, classes: int, line: str) -> None:
    (tmp_path / "mine.py").write_text(ENDS)
    models = tmp_path / "models"
    command = [
        "export",
        f"{tmp_path / 'mine.py'}:{factory}",
        "--input",
        "3x4x4",
        "--random-weights",
    ]
    done = CliRunner().invoke(app, [*command, "--repository", str(models)])
    assert done.exit_code == 0, done.stderr
    assert line in done.stdout
    manifest = json_format.Parse(
        (models / factory / "1/manifest.json").read_text(), pb.ModelManifest()
    )
    assert list(manifest.labels) == [str(index) for index in range(classes)]


def test_an_unclear_activation_stops_with_the_options(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ENDS)
    command = ["export", f"{tmp_path / 'mine.py'}:scaled", "--input", "3x4x4", "--random-weights"]
    models = ("--repository", str(tmp_path / "models"))
    done = CliRunner().invoke(app, [*command, *models])
    assert done.exit_code == 1
    assert "it isn't clear what the outputs are" in done.stderr
    assert "--activation softmax or sigmoid" in done.stderr
    done = CliRunner().invoke(app, [*command, *models, "--activation", "sigmoid"])
    assert done.exit_code == 0, done.stderr
    assert "activation sigmoid, independent labels: as chosen" in done.stdout


DEFAULTS = """import torch
from torch import nn


def three(num_classes=3):
    torch.manual_seed(7)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, num_classes))


def sized(size):
    return three()


def binary():
    torch.manual_seed(7)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 1))
"""


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        ("three", (), "three has 3 classes by default, but there are 2 labels; called with"),
        ("sized", (), "requires size, but it is called with num_classes and in_channels only"),
        ("binary", ("--labels", "mnist"), "the first label is for low outputs, the second for"),
        ("three", ("--input", "3x17"), "--input declares a signal, CxL; an image is declared as"),
    ],
)
def test_a_factory_that_does_not_fit_the_options_is_explained(
    tmp_path: Path, factory: str, options: tuple[str, ...], message: str
) -> None:
    (tmp_path / "mine.py").write_text(DEFAULTS)
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    command = ["export", f"{tmp_path / 'mine.py'}:{factory}", "--input", "3x4x4"]
    labels = ("--labels", str(tmp_path / "two.txt"), "--repository", str(tmp_path / "models"))
    done = CliRunner().invoke(app, [*command, *labels, *options])
    assert done.exit_code == 1
    assert message in done.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("options", "labels", "network"),
    [
        ((), "labels    0, 1, 2; numbers only, name the classes with --labels FILE", ""),
        (("--labels", "mnist"), "labels    0, 1, 2, 3, 4 and 5 more\n", "with num_classes=10"),
    ],
)
def test_the_labels_and_the_number_of_classes_are_printed(
    tmp_path: Path, options: tuple[str, ...], labels: str, network: str
) -> None:
    (tmp_path / "mine.py").write_text(DEFAULTS)
    command = ["export", f"{tmp_path / 'mine.py'}:three", "--input", "3x4x4", "--random-weights"]
    done = CliRunner().invoke(app, [*command, *options, "--repository", str(tmp_path / "models")])
    assert done.exit_code == 0, done.stderr
    assert labels in done.stdout
    assert network in done.stdout


def test_a_factory_whose_weights_fit_the_labels_and_not_its_default_is_exported(
    tmp_path: Path,
) -> None:
    layers = (nn.Flatten(), nn.Linear(48, 2))
    torch.save(nn.Sequential(*layers).state_dict(), tmp_path / "trained.pth")
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef net(num_classes=1000):\n"
        "    network = nn.Sequential(nn.Flatten(), nn.Linear(48, num_classes))\n"
        f"    network.load_state_dict(torch.load({str(tmp_path / 'trained.pth')!r}))\n"
        "    return network\n"
    )
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    labels = ("--labels", str(tmp_path / "two.txt"))
    manifest = exported(tmp_path, f"{tmp_path / 'mine.py'}:net", "--input", "3x4x4", *labels)
    assert list(manifest.labels) == ["cat", "dog"]
