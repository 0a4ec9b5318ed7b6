from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convscope.exporter.datasets import Split
from convscope.exporter.errors import UnknownNameError
from convscope.exporter.training.classifier import Recipe
from convscope.exporter.training.fit import train
from convscope.exporter.training.freezing import BACKBONE, freeze
from convscope.exporter.training.runs import begin_run
from convscope.exporter.training.splits import Splits, hold_back

CLASSES = 3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential()
    made.add_module("stem", nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    made.add_module("body", nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    made.add_module("pool", nn.AdaptiveAvgPool2d(1))
    made.add_module("flatten", nn.Flatten())
    made.add_module("head", nn.Linear(4, CLASSES))
    return made


@pytest.mark.parametrize(
    ("last", "changed"),
    [(BACKBONE, {"head"}), ("body", {"head"}), ("stem", {"body", "head"})],
)
def test_only_unfrozen_modules_change(tmp_path: Path, last: str, changed: set[str]) -> None:
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (60, 8, 8, 1), np.uint8), np.arange(60) % CLASSES)
    start = network()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    recipe = Recipe(
        mean=(0.0,), std=(1.0,), epochs=2, batch_size=16, learning_rate=0.1, seed=0, freeze=last
    )
    splits = Splits(*hold_back(split, CLASSES, seed=0), split)
    run = begin_run(tmp_path, {})
    trained = train(lambda: start, splits, recipe, classes=CLASSES, progress=False, run=run)
    assert trained is not None
    after = trained.network.state_dict()
    found = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert found == changed


def test_an_unknown_module_lists_the_available_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no module 'layer9'.*stem, body, pool"):
        freeze(network(), "layer9", CLASSES)
