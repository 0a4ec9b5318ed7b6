import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import json_format
from support.demo_models import run_exporter
from typer.testing import CliRunner

from convscope.exporter.architectures import ARCHITECTURES, find_architecture
from convscope.exporter.cli import app
from convscope.v1 import manifest_pb2 as pb

REFUSALS = [
    (("export", "efficientnet_light0"), "did you mean: efficientnet_lite0"),
    (("export", "digits"), "train it with: convscope-exporter train digits"),
    (("export", "digits", "--weights", "absent.pth"), "no file 'absent.pth'"),
    (("export", "resnet18", "--input", "3x96x96"), "that of its weights' record, [224, 224, 3]"),
    (("export", "absent.py:net"), "no file 'absent.py'"),
    (("export", "absent.py:net", "--labels", "mnist"), "declare it, such as --input 3x224x224"),
    (("export", "absent.py:net", "--input", "3x8x8"), "no file 'absent.py'"),
    (("export", "absent.py:net", "--input", "big"), "isn't like 3x224x224"),
    (
        ("export", "absent.py:net", "--input", "3x8x8", "--mean", "0.1,0.2"),
        "--mean has 2 numbers for 3 channels",
    ),
    (
        ("export", "digits", "--random-weights", "--feature-map", "conv9"),
        "no module 'conv9'; its outermost are: conv1",
    ),
    (
        ("export", "digits", "--random-weights", "--feature-map", "conv1=logits"),
        "the name is taken; choose another with --feature-map conv1=NAME",
    ),
    (
        ("export", "digits", "--random-weights", "--labels", "letters"),
        "'letters' is no text file of labels, and no dataset; there are: cifar10",
    ),
    (("train", "efficientnet_lite0"), "name one with --dataset"),
    (("train", "edge_filters"), "nothing to learn; convert it with"),
    (("train", "digits", "--dataset", "letters"), "no dataset 'letters'; there are: cifar10"),
    (("train", "digits", "--dataset", "folder:absent"), "there is no folder 'absent'"),
    (("train", "signal_conv", "--dataset", "mnist_sample"), "give it arrays with --dataset npz"),
    (("train", "digits", "--freeze", "conv1"), "--freeze would keep random weights"),
    (("train", "digits", "--resume"), "to resume; leave --resume out"),
    (("train", "digits", "--name", "Digits!"), "'Digits!' can't be a model's name"),
    (("train", "digits", "--version", "0"), "versions are 1, 2, 3"),
]


@pytest.mark.parametrize(("command", "reason"), REFUSALS, ids=lambda value: str(value)[:60])
def test_what_cannot_be_is_said_in_a_sentence(
    tmp_path: Path, command: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*command, "--repository", str(tmp_path)])
    assert done.exit_code == 1
    assert reason in done.stderr
    assert not list(tmp_path.iterdir())


def exported(folder: Path, *arguments: str) -> pb.ModelManifest:
    """Export in this process, and read the manifest of the only bundle."""
    done = CliRunner().invoke(app, ["export", *arguments, "--repository", str(folder / "models")])
    assert done.exit_code == 0, done.stderr
    (path,) = (folder / "models").rglob("manifest.json")
    return json_format.Parse(path.read_text(), pb.ModelManifest())


def test_help_lists_the_commands() -> None:
    done = run_exporter("--help")
    assert done.returncode == 0
    for command in ("list", "export", "train"):
        assert command in done.stdout


def test_a_wrong_flag_is_a_usage_error() -> None:
    assert run_exporter("export", "digits", "--verison", "1").returncode == 2


def test_the_list_names_every_network_and_the_ways_to_others() -> None:
    said = CliRunner().invoke(app, ["list"]).stdout
    for name in ("perceptron", "leung_malik", "vgg19_bn", "efficientnet_lite4", "clip_conv"):
        assert f"\n{name} " in f"\n{said}"
    assert "timm/NAME" in said
    assert "path/to/file.py:factory" in said


def test_the_list_loads_neither_pytorch_nor_a_library_of_networks() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from convscope.exporter.cli import app\n"
        "done = CliRunner().invoke(app, ['list'])\n"
        "assert done.exit_code == 0 and 'resnet50' in done.stdout\n"
        "print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_piped_list_has_a_line_for_each_network() -> None:
    header, *lines = CliRunner().invoke(app, ["list"]).stdout.splitlines()
    assert header.split() == ["name", "input", "weights", "what", "it", "is"]
    assert [line.split()[0] for line in lines] == [
        *ARCHITECTURES,
        "timm/NAME",
        "path/to/file.py:factory",
    ]
    for row, line in zip(ARCHITECTURES.values(), lines, strict=False):
        assert line.rstrip().endswith(f"  {row.summary}")


def test_a_list_on_a_terminal_of_80_columns_loses_nothing() -> None:
    wide = {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "dumb"}
    said = CliRunner(env=wide).invoke(app, ["list"]).stdout
    lines = re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in said
    words = " ".join(lines).split()
    for row in ARCHITECTURES.values():
        assert row.name in words
        assert set(row.summary.split()) <= set(words)


def test_the_list_searches_timm() -> None:
    found = CliRunner().invoke(app, ["list", "timm/convnext_a"]).stdout.split()
    assert "timm/convnext_atto" in found
    assert all(name.startswith("timm/convnext_a") for name in found)


def test_weights_of_a_file_are_exported_with_the_labels_of_a_dataset(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = find_architecture("multi_conv").build(10)
    torch.save(trained.state_dict(), tmp_path / "mine.pth")
    manifest = exported(
        tmp_path, "multi_conv", "--weights", str(tmp_path / "mine.pth"), "--labels", "fashion_mnist"
    )
    assert manifest.labels[0] == "T-shirt/top"
    assert manifest.provenance.weights == "mine.pth"


def test_another_number_of_labels_than_classes_is_refused(tmp_path: Path) -> None:
    torch.save(find_architecture("multi_conv").build(10).state_dict(), tmp_path / "mine.pth")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    files = ("--weights", str(tmp_path / "mine.pth"), "--labels", str(tmp_path / "labels.txt"))
    command = ["export", "multi_conv", *files, "--repository", str(tmp_path / "models")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "mine.pth has 10 classes, and there are 2 labels" in done.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [("lines.txt", "cat\n\ndog\n"), ("names.json", '{"1": ["n2", "dog"], "0": ["n1", "cat"]}')],
)
def test_ones_own_network_is_exported_with_its_labels(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),\n"
        "                         nn.Linear(4, 2))\n"
    )
    own = (f"{tmp_path / 'mine.py'}:Net", "--input", "3x32x48", "--labels", str(tmp_path / name))
    manifest = exported(tmp_path, *own, "--mean", "0.5", "--feature-map", "0=stem")
    assert (manifest.model, list(manifest.labels)) == ("net", ["cat", "dog"])
    assert list(manifest.input.shape) == [32, 48, 3]
    np.testing.assert_allclose(manifest.preprocessing.mean, [0.5] * 3)
    assert [(one.name, one.module) for one in manifest.feature_maps] == [("stem", "0")]


def test_ones_own_network_with_other_classes_than_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\ndef net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))\n"
    )
    own = [f"{tmp_path / 'mine.py'}:net", "--input", "3x4x4", "--labels", "mnist"]
    done = CliRunner().invoke(app, ["export", *own, "--repository", str(tmp_path / "models")])
    assert done.exit_code == 1
    assert "the network has 3 classes, and there are 10 labels" in done.stderr


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
    manifest = exported(tmp_path, f"{tmp_path / 'mine.py'}:{factory}", "--input", "3x4x4")
    assert list(manifest.labels) == [str(index) for index in range(classes)]


@pytest.mark.parametrize(
    ("factory", "given", "reasons"),
    [
        ("asking", (), ("two more options", "--input 3x224x224", "--labels FILE")),
        ("asking", ("--input", "3x4x4"), ("asks for num_classes; name the classes with --labels",)),
        ("asking", ("--labels", "mnist"), ("declare it, such as --input 3x224x224",)),
        ("fixed", (), ("declare it, such as --input 3x224x224",)),
    ],
)
def test_everything_that_ones_own_network_lacks_is_said_at_once(
    tmp_path: Path, factory: str, given: tuple[str, ...], reasons: tuple[str, ...]
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    command = ["export", f"{tmp_path / 'mine.py'}:{factory}", *given]
    done = CliRunner().invoke(app, [*command, "--repository", str(tmp_path / "models")])
    assert done.exit_code == 1
    assert all(reason in done.stderr for reason in reasons), done.stderr
    assert not (tmp_path / "models").exists()


def test_a_bank_of_filters_needs_neither_weights_nor_labels(tmp_path: Path) -> None:
    manifest = exported(tmp_path, "edge_filters")
    assert manifest.task == pb.TASK_FEATURE_EXTRACTION
    assert (list(manifest.labels), manifest.activation) == ([], pb.ACTIVATION_NONE)
    assert manifest.provenance.weights == "fixed"


def test_a_signals_length_may_be_declared(tmp_path: Path) -> None:
    manifest = exported(tmp_path, "signal_conv", "--random-weights", "--input", "2x100")
    assert (manifest.input.name, list(manifest.input.shape)) == ("signal", [2, 100])
    stage = manifest.feature_maps[1]
    assert (stage.channels, stage.height, stage.width) == (32, 1, 25)


@pytest.mark.slow
def test_the_digits_reach_98_percent_of_their_test_images(demo_repository: Path) -> None:
    text = (demo_repository / "digits/1/manifest.json").read_text()
    (metric,) = json_format.Parse(text, pb.ModelManifest()).provenance.metrics
    assert (metric.name, metric.split) == ("top1_accuracy", "mnist_sample test")
    assert metric.value >= 0.98
