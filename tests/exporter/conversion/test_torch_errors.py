"""Networks that can't be exported: what happened, where, and what to do."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from convscope.exporter.cli import app

SOURCE = """
import torch
from torch import nn
from torch.nn import functional as F


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))


class Decides(Base):
    def forward(self, x):
        if x.mean() > 0:
            x = x * 2
        return super().forward(x)


class Unsupported(Base):
    def forward(self, x):
        return self.fc(torch.linalg.svdvals(self.conv(x)).mean(2))


class DropsOut(Base):
    def forward(self, x):
        return self.fc(F.dropout(self.conv(x).relu().mean((2, 3)), 0.5))


class StaysInTraining(Base):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def train(self, mode=True):
        return super().train(True)

    def forward(self, x):
        return self.fc(self.drop(self.conv(x).relu().mean((2, 3))))


class Augments(Base):
    def forward(self, x):
        first, second = super().forward(torch.cat([x, x.flip(3)])).chunk(2)
        return (first + second) / 2


class Fails(Base):
    def forward(self, x):
        raise KeyError("weights")


class Huge(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2**29, device="meta"))
"""


def line_of(text: str) -> int:
    return SOURCE[: SOURCE.index(text)].count("\n") + 1


def export(folder: Path, name: str, *options: str) -> str:
    """Export a network that must be rejected; return the only line of the error output."""
    (folder / "net.py").write_text(SOURCE)
    arguments = [f"{folder / 'net.py'}:{name}", "--input", "3x32x32", "-q", *options]
    done = CliRunner().invoke(app, ["export", *arguments, "--repository", str(folder / "models")])
    assert done.exit_code == 1
    assert not (folder / "models").exists()
    return done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Decides", f"decides by the values of a tensor in forward at net.py:{line_of('if x.me')}"),
        ("Unsupported", "ONNX has no operator for aten._linalg_svd in forward at net.py:"),
        ("DropsOut", "another 'logits' in every run for the same input: dropout or another random"),
        ("Augments", "takes exactly 2 images ('images' has a fixed batch)"),
        ("Fails", "KeyError: 'weights'"),
        ("Huge", "the network has 2.0 GiB of weights; a bundle's graph is one ONNX file"),
    ],
)
def test_the_error_is_one_sentence(tmp_path: Path, name: str, message: str) -> None:
    shown = export(tmp_path, name)
    assert message in shown
    assert len(shown.splitlines()) == 1
    assert "Traceback" not in shown


def test_a_network_that_stays_in_training_mode_is_rejected(tmp_path: Path) -> None:
    assert "in every run for the same input" in export(tmp_path, "StaysInTraining")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    shown = export(tmp_path, "Fails", "--debug")
    assert "Traceback (most recent call last)" in shown
    assert shown.splitlines()[-1].startswith("error: ")
