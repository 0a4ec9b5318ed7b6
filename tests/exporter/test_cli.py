from pathlib import Path

import pytest
from google.protobuf import json_format
from support.exporter import run_fresh_exporter
from typer.testing import CliRunner

from convscope.exporter.cli import app
from convscope.v1 import manifest_pb2 as pb

ERRORS = [
    (("export", "efficientnet_light0"), "did you mean efficientnet_lite0"),
    (("export", "digits"), "train it with: convscope-exporter train digits"),
    (("export", "digits", "--weights", "absent.pth"), "no file 'absent.pth'"),
    (
        ("export", "resnet18", "--input", "3x96x96"),
        "input of resnet18 is fixed to [224, 224, 3]",
    ),
    (("export", "absent.py:net"), "no file 'absent.py'"),
    (("export", "absent.py:net", "--labels", "mnist"), "declare it, such as --input 3x224x224"),
    (("export", "absent.py:net", "--input", "3x8x8"), "no file 'absent.py'"),
    (("export", "absent.py:net", "--input", "big"), "is no shape like 3x224x224"),
    (
        ("export", "absent.py:net", "--input", "48x64x3"),
        "has 48 channels; images have 1 or 3, and --input is CxHxW: 3x48x64",
    ),
    (
        ("export", "absent.py:net", "--input", "3x48", "--mean", "0.5"),
        "--input 3x48 is a signal, which isn't preprocessed; remove --mean",
    ),
    (("export", "digits", "--labels", "absent.txt"), "there is no label file 'absent.txt'"),
    (
        ("export", "resnet18", "--mean", "0.1", "--std", "0.9"),
        "the published weights of resnet18 need its own preprocessing; remove --mean and --std, or "
        "pass the weights that were trained with it: --weights",
    ),
    (
        ("train", "resnet18", "--pretrained", "--preprocess", "unit", "--dataset", "mnist_sample"),
        "need its own preprocessing; remove --preprocess, or train without --pretrained",
    ),
    (
        ("train", "signal_conv", "--mean", "0.5", "--dataset", "mnist_sample"),
        "signal_conv takes tensors, which aren't preprocessed; remove --mean",
    ),
    (("train", "lenet", "--input", "3x64x64"), "lenet has its own input"),
    (
        ("train", "lenet", "--shortest-edge", "8"),
        "--resize 8 is less than the network's input, 32x32",
    ),
    (
        ("export", "absent.py:net", "--input", "3x8x8", "--mean", "0.1,0.2"),
        "--mean has 2 numbers for 3 channels",
    ),
    (
        ("export", "digits", "--random-weights", "--feature-map", "conv9"),
        "no module 'conv9'; did you mean conv2 or conv1?",
    ),
    (
        ("export", "digits", "--random-weights", "--feature-map", "conv1=logits"),
        "the name is taken; choose another with --feature-map conv1=NAME",
    ),
    (
        ("export", "digits", "--random-weights", "--labels", "letters"),
        "'letters' is neither a file of labels nor a dataset; datasets: cifar10",
    ),
    (("train", "efficientnet_lite0"), "choose one with --dataset"),
    (("train", "edge_filters"), "edge_filters can't be trained; convert it with"),
    (("train", "digits", "--dataset", "letters"), "no dataset 'letters'; available: cifar10"),
    (("train", "digits", "--dataset", "."), "write folder:. for this path"),
    (("train", "digits", "--dataset", "folder:absent"), "there is no folder 'absent'"),
    (("train", "signal_conv", "--dataset", "mnist_sample"), "pass arrays with --dataset npz"),
    (
        ("train", "digits", "--freeze", "conv1"),
        "--freeze would freeze random weights; add --pretrained or --weights FILE, or "
        "--random-weights",
    ),
    (
        ("train", "resnet18", "--random-weights", "--pretrained", "--dataset", "mnist_sample"),
        "--random-weights excludes --pretrained and --weights",
    ),
    (("train", "digits", "--resume"), "to resume; start one without --resume"),
    (("train", "digits", "--name", "Digits!"), "'Digits!' can't be a model's name"),
    (("train", "digits", "--version", "0"), "versions are 1, 2, 3"),
]


@pytest.mark.parametrize(("command", "reason"), ERRORS, ids=lambda value: str(value)[:60])
def test_an_error_is_explained_in_a_sentence(
    tmp_path: Path, command: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*command, "--repository", str(tmp_path)])
    assert done.exit_code == 1
    assert reason in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_lists_the_commands() -> None:
    done = run_fresh_exporter("--help")
    assert done.returncode == 0
    for command in ("list", "export", "train", "import"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("typed", "message"),
    [("expor", "did you mean export?"), ("networks", "choose init, list, pyramid, export")],
)
def test_an_unknown_command_is_answered_with_the_known_ones(typed: str, message: str) -> None:
    done = CliRunner().invoke(app, [typed])
    assert done.exit_code == 64
    assert message in " ".join(done.stderr.split())


def test_an_unknown_option_is_a_usage_error() -> None:
    assert run_fresh_exporter("export", "digits", "--verison", "1").returncode == 64


@pytest.mark.slow
def test_the_digits_reach_98_percent_of_their_test_images(demo_repository: Path) -> None:
    text = (demo_repository / "digits/1/manifest.json").read_text()
    metric = json_format.Parse(text, pb.ModelManifest()).provenance.metrics[0]
    assert (metric.name, metric.split) == ("top1_accuracy", "mnist_sample test")
    assert metric.value >= 0.98


def test_a_list_of_numbers_with_spaces_is_explained() -> None:
    done = CliRunner().invoke(app, ["import", "x.onnx", "--mean", "0.5,", "0.4,", "0.3"])
    assert done.exit_code == 64
    assert "; write a list of numbers without spaces, such as 0.5,0.5" in done.stderr
