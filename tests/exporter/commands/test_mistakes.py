"""What the commands say about a user's mistakes: one sentence, and no report before it."""

import shlex
from pathlib import Path

import pytest
from support.tiny import write_tiny
from typer.testing import CliRunner

from convscope.exporter.cli import app

NETWORK = """
import torch
from torch import nn


def network(num_classes=4):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )


def nothing():
    pass
"""
EXPORT = "export net.py:network --input 3x16x16 --random-weights"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    (tmp_path / "file").write_text("text")
    write_tiny(tmp_path / "models", "tiny")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (f"{EXPORT} --labels two.txt", "has 4 classes, but there are 2 labels; pass 4 labels"),
        (f"{EXPORT} --feature-map 9", "the network has no module '9'; its top-level modules are"),
        (f"{EXPORT} --repository file", "--repository file: file is a file, not a folder"),
        (f"{EXPORT} --repository s3://bucket/m", "is a URL; publish into a folder"),
        (f"{EXPORT} --name tiny --version 1", "tiny v1 exists, and a published version never"),
        (f"{EXPORT} --resize letterbox", "--resize fit --padding 114"),
        ("export net.py:nothing --input 3x16x16", "net.py:nothing returned None instead of an"),
        ("import https://example.com/a.onnx", "is a URL; download the file first"),
        ("import net.py", "net.py is not an ONNX model, or a part of it is missing"),
        ("verify nowhere", "there is no folder 'nowhere'; name a bundle like models/MODEL"),
        ("verify models/tiny/1 --signature-key nowhere", "there is no file 'nowhere'"),
        (
            "describe models",
            "models is a repository; name one of its bundles, such as models/",
        ),
        ("explain models/tiny/1 --version 1", "tiny v1 exists"),
        ("list nothing_like_it", "no name contains 'nothing_like_it'"),
        ("init file", "file is a file; name another directory"),
        (
            "evaluate --server localhost:1 --model m --dataset folder:models",
            "no server answers at localhost:1; start one with",
        ),
        (
            "evaluate --server localhost --model m --dataset folder:models",
            "--server is 'localhost'; give HOST:PORT",
        ),
    ],
)
def test_a_mistake_is_explained_and_nothing_else_is_printed(
    folder: Path, command: str, reason: str
) -> None:
    done = CliRunner().invoke(app, shlex.split(command))
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert reason in done.stderr.replace("\n", "")
    raw = ("unexpectedly", "Traceback", "onnx.ModelProto", "UNKNOWN", "all addresses")
    assert not any(word in done.stderr for word in raw)
    assert sorted(path.name for path in (folder / "models").iterdir()) == ["tiny"]


def test_a_path_is_printed_as_it_is(folder: Path) -> None:
    command = "publish models/tiny/1 'other[old]'"
    done = CliRunner().invoke(app, shlex.split(command))
    assert "published other[old]/tiny/1 " in done.stdout
    assert CliRunner().invoke(app, shlex.split(command)).stdout.splitlines()[-1] == (
        "other[old]/tiny/1 exists already and is the same; nothing to do"
    )
