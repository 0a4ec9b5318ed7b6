"""Networks that return several outputs: one is chosen, by name or position."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.foreign_models import manifest_of, run_bundle
from typer.testing import CliRunner

from convscope.exporter.architectures.resolve import DeclaredInput, resolve
from convscope.exporter.cli import app

SIDE = 8
NETWORKS = '''
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import torch
from torch import nn

Pair = namedtuple("Pair", "logits other")


@dataclass
class Output:
    logits: torch.Tensor
    other: torch.Tensor
    loss: torch.Tensor | None = None


@dataclass
class ModelOutput(OrderedDict):
    """A dictionary and a dataclass at once, without the values that are None."""

    logits: torch.Tensor | None = None
    other: torch.Tensor | None = None
    loss: torch.Tensor | None = None

    def __post_init__(self):
        self.update(logits=self.logits, other=self.other)


class Several(nn.Module):
    def __init__(self, form):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.stem = nn.Conv2d(3, 4, 3, 2)
        self.head, self.other = nn.Linear(4, 3), nn.Linear(4, 5)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.form = form

    def forward(self, images):
        maps = self.stem(images).relu()
        pooled = maps.mean((2, 3))
        return self.form(self.head(pooled), self.other(pooled))


def as_tuple():
    return Several(lambda *outputs: outputs)

def as_list():
    return Several(lambda *outputs: list(outputs))

def as_dictionary():
    return Several(lambda logits, other: {"logits": logits, "other": other})

def as_named_tuple():
    return Several(Pair)

def as_dataclass():
    return Several(Output)

def as_model_output():
    return Several(ModelOutput)

def with_features():
    return Several(lambda logits, other: (other[:, :, None], logits, logits.argmax(1), None))

def single():
    return Several(lambda logits, other: logits)

def nothing():
    return Several(lambda *outputs: "logits")
'''
NAMED = ("as_dictionary", "as_named_tuple", "as_dataclass", "as_model_output")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(NETWORKS)
    return path


def export(file: Path, factory: str, *options: str) -> tuple[int, str]:
    models = ("--repository", str(file.parent / "models"))
    command = ["export", f"{file}:{factory}", "--input", f"3x{SIDE}x{SIDE}", *models, *options]
    done = CliRunner().invoke(app, command)
    return done.exit_code, done.stdout if done.exit_code == 0 else done.stderr


@pytest.mark.parametrize(
    ("factory", "choice", "position"),
    [
        ("as_tuple", "0", 0),
        ("as_list", "1", 1),
        ("as_named_tuple", "1", 1),
        ("as_dataclass", "other", 1),
        ("as_model_output", "logits", 0),
    ],
)
def test_the_chosen_output_is_published(
    file: Path, factory: str, choice: str, position: int
) -> None:
    code, shown = export(file, factory, "--output", choice)
    assert code == 0, shown
    bundle = file.parent / "models" / factory / "1"
    images = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    network = resolve(f"{file}:as_tuple", DeclaredInput(f"3x{SIDE}x{SIDE}")).build(0).eval()
    with torch.inference_mode():
        planes = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        logits = network(planes)[position]
    found = run_bundle(bundle, images)["probabilities"]
    np.testing.assert_allclose(found, logits.softmax(1).numpy(), atol=1e-5)
    manifest = manifest_of(bundle)
    assert len(manifest.labels) == logits.shape[1]
    assert [one.module for one in manifest.feature_maps] == ["stem"]  # as without a choice


@pytest.mark.parametrize(
    ("factory", "available"),
    [
        ("as_tuple", "available: 0 [N, 3], 1 [N, 5]"),
        *((factory, "available: logits [N, 3], other [N, 5]") for factory in NAMED),
    ],
)
def test_several_outputs_are_rejected_with_the_choices(
    file: Path, factory: str, available: str
) -> None:
    code, error = export(file, factory)
    assert code == 1
    assert "choose the one with the classes with --output NAME or its position" in error
    assert available in error
    assert not list((file.parent / "models").rglob("manifest.json"))


def test_the_only_output_with_scores_is_chosen_and_reported(file: Path) -> None:
    code, shown = export(file, "with_features")
    assert code == 0, shown
    assert "output    1\n" in shown


@pytest.mark.parametrize(
    ("factory", "choice", "reason"),
    [
        ("as_tuple", "2", "has no output '2'; available: 0 [N, 3], 1 [N, 5]"),
        ("as_dataclass", "loss", "has no output 'loss'; available: logits [N, 3], other [N, 5]"),
        ("single", "0", "doesn't return several tensors; remove --output"),
        ("nothing", "0", "doesn't return several tensors; remove --output"),
    ],
)
def test_an_unknown_output_is_an_error(file: Path, factory: str, choice: str, reason: str) -> None:
    code, error = export(file, factory, "--output", choice)
    assert (code, reason in error) == (1, True), error


def test_a_network_that_returns_no_tensor_is_rejected(file: Path) -> None:
    code, error = export(file, "nothing")
    assert code == 1
    assert "the network returns a str instead of a tensor; a classifier returns" in error
