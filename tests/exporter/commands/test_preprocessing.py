"""Preprocessing and labels of a network of one's own."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from convscope.exporter.cli import app

PLAIN = """
from torch import nn

def net():
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), *head)
"""


def own(folder: Path, *options: str) -> list[str]:
    (folder / "net.py").write_text(PLAIN)
    name = f"{folder / 'net.py'}:net"
    return ["export", name, "--input", "3x32x32", "--repository", str(folder / "models"), *options]


def test_without_options_the_preprocessing_is_assumed_to_be_unit(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, own(tmp_path, "--random-weights"))
    assumed = CliRunner().invoke(app, own(tmp_path, "--random-weights", "--preprocess", "unit"))
    lines = [
        next(line for line in one.stdout.splitlines() if line.startswith("images"))
        for one in (done, assumed)
    ]
    assert lines[0].startswith(f"{lines[1]}; assumed, set --preprocess, --mean, --std or ")


def test_unit_means_a_center_crop_for_an_input_that_is_no_square(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(PLAIN)
    command = ["export", f"{tmp_path / 'net.py'}:net", "--input", "3x24x32", "--random-weights"]
    for option in ((), ("--preprocess", "unit")):
        places = ("--repository", str(tmp_path / "models"))
        done = CliRunner().invoke(app, [*command, *option, *places])
        assert "shorter edge 32, center crop 24x32" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--mean", "0.5", "--std", "0.5"), "mean 0.5, std 0.5, resized to 32x32, RGB"),
        (("--preprocess", "unit", "--shortest-edge", "40"), "shorter edge 40, center crop 32, RGB"),
    ],
)
def test_the_preprocessing_of_a_built_in_network_can_be_replaced(
    tmp_path: Path, options: tuple[str, ...], line: str
) -> None:
    command = ["export", "lenet", "--random-weights", *options]
    done = CliRunner().invoke(app, [*command, "--repository", str(tmp_path / "models")])
    assert done.exit_code == 0, done.stderr
    assert line in done.stdout
    assert "assumed" not in done.stdout


def test_a_network_of_ones_own_is_exported_by_a_convention(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, own(tmp_path, "--preprocess", "torchvision", "--random-weights"))
    assert done.exit_code == 0, done.stderr
    line = "pixels/255, mean 0.485 0.456 0.406, std 0.229 0.224 0.225, shorter edge 37, "
    assert f"images    {line}center crop 32, RGB\n" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mean", "127.5", "--std", "127.5"), "use --mean 0.5 --std 0.5 for the same"),
        (("--std", "0"), "the standard deviation must be numbers above 0"),
        (("--preprocess", "caffe"), "reverse the channels at the start of the network's forward"),
    ],
)
def test_preprocessing_that_does_not_fit_is_rejected(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = CliRunner().invoke(app, own(tmp_path, *options))
    assert done.exit_code == 1
    assert message in done.stderr
    assert not (tmp_path / "models").exists()


def test_class_indices_of_keras_are_labels(tmp_path: Path) -> None:
    (tmp_path / "class_indices.json").write_text('{"cat": 0, "dog": 1, "fox": 2}')
    files = ("--labels", str(tmp_path / "class_indices.json"), "--random-weights")
    done = CliRunner().invoke(app, own(tmp_path, *files))
    assert done.exit_code == 0, done.stderr
    manifest = json.loads((tmp_path / "models/net/1/manifest.json").read_text())
    assert manifest["labels"] == ["cat", "dog", "fox"]
