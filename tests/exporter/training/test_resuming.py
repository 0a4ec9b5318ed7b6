"""Training that is killed at random moments and resumed."""

import csv
import json
import random
import re
import shlex
import shutil
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from support.training import TrainingCommand
from typer.testing import CliRunner

from convscope.exporter.cli import app
from convscope.exporter.training.checkpoints import read_history
from convscope.exporter.training.history import metrics_csv
from convscope.exporter.training.runs import Run

pytestmark = [pytest.mark.slow(seconds=5), pytest.mark.timeout(600)]

EPOCHS = 80  # far more than pass between the kills
KILLS = 10
TIMEOUT_SECONDS = 120

NETWORK = """from torch import nn


def tiny(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2),
        nn.Flatten(), nn.Linear(4 * 3 * 3, num_classes))
"""


@dataclass(frozen=True)
class Folder:
    """A folder with a network, a dataset, its runs and its models."""

    path: Path
    numbers = count()

    def command(self, *options: str) -> TrainingCommand:
        arguments = [f"{self.path / 'mine.py'}:tiny", "--input", "1x8x8"]
        arguments += ["--dataset", f"npz:{self.path / 'bars.npz'}", "--learning-rate", "0.01"]
        arguments += ["--repository", str(self.path / "models"), "--runs", str(self.path / "runs")]
        return TrainingCommand([*arguments, *options], self.path / f"{next(self.numbers)}.log")

    @property
    def run(self) -> Run:
        return Run(self.path / "runs/tiny/1", resumes=True)

    @property
    def report(self) -> Path:
        return self.run.directory / "report.html"

    def report_figures(self) -> dict[str, Any]:
        """Return the figures in the report, without the epoch's time."""
        found = re.search(
            r'<script type="application/json".*?>(.*?)</script>', self.report.read_text()
        )
        figures: dict[str, Any] = json.loads(found[1] if found else "{}")
        return figures

    @property
    def versions(self) -> list[str]:
        return [path.name for path in (self.path / "models/tiny").iterdir()]

    def metrics(self) -> list[dict[str, str]]:
        """Return the rows of the metrics, of which there are none in the first epoch."""
        path = self.run.directory / "metrics.csv"
        if not path.exists():
            return []
        with path.open() as file:
            return list(csv.DictReader(file))

    def wait_for_epoch(self, epochs: int) -> None:
        end = time.monotonic() + TIMEOUT_SECONDS
        while len(self.metrics()) < epochs:
            if time.monotonic() > end:
                raise TimeoutError(f"epoch {epochs} took too long")
            time.sleep(0.005)

    def weights(self) -> dict[str, np.ndarray]:
        graph = onnx.load(self.path / "models/tiny/1/model.onnx").graph
        return {one.name: numpy_helper.to_array(one) for one in graph.initializer}


def folder_at(path: Path) -> Folder:
    """Write a network and noisy bars at three positions, one class each."""
    path.mkdir(exist_ok=True)
    (path / "mine.py").write_text(NETWORK)
    noise = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = noise.integers(0, 120, (90, 8, 8, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 1] += 100
    np.savez(path / "bars.npz", x_train=images, y_train=labels)
    return Folder(path)


def without_seconds(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def announced_epoch(lines: list[str]) -> int:
    (epoch,) = re.findall(
        rf"^continuing tiny run 1 with epoch (\d+) of {EPOCHS}$", "\n".join(lines), re.M
    )
    return int(epoch)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = folder_at(tmp_path_factory.mktemp("uninterrupted"))
    folder.command("--epochs", str(EPOCHS)).finish()
    return folder


def test_a_run_that_is_killed_ten_times_ends_like_an_uninterrupted_one(
    tmp_path: Path, uninterrupted: Folder
) -> None:
    moments = random.Random(0)
    folder = folder_at(tmp_path / "killed")
    command = folder.command("--epochs", str(EPOCHS))
    folder.wait_for_epoch(1)
    for _ in range(KILLS):
        folder.wait_for_epoch(len(folder.metrics()) + moments.randint(0, 2))
        time.sleep(moments.uniform(0, 0.1))
        command.kill()
        saved = [str(metrics.seconds) for metrics in read_history(folder.run.last)]
        command = folder.command("--resume")
        folder.wait_for_epoch(len(saved) + 1)
        assert announced_epoch(command.lines) == len(saved) + 1
        # The earlier epochs weren't trained again: their durations are the same.
        assert [row["seconds"] for row in folder.metrics()][: len(saved)] == saved
    command.finish()
    assert without_seconds(folder.metrics()) == without_seconds(uninterrupted.metrics())
    assert [row["epoch"] for row in folder.metrics()] == [str(n + 1) for n in range(EPOCHS)]
    assert folder.versions == ["1"]
    expected = uninterrupted.weights()
    for name, values in folder.weights().items():
        np.testing.assert_array_equal(values, expected[name])


def test_the_published_weights_are_those_of_the_lowest_validation_loss(
    uninterrupted: Folder,
) -> None:
    rows = uninterrupted.metrics()
    best = min(rows, key=lambda row: float(row["val_loss"]))
    record = uninterrupted.run.record()
    assert record["published_epoch"] == record["best_epoch"] == int(best["epoch"])
    saved = torch.load(uninterrupted.run.best, weights_only=True)
    assert saved["epoch"] + 1 == int(best["epoch"])


def test_a_finished_run_is_not_published_twice_but_accepts_more_epochs(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.command("--epochs", "2").finish()
    text = "\n".join(folder.command("--resume", "--epochs", "2").finish())
    assert "tiny run 1 is finished: epoch 2 of 2 is published as v1" in text
    assert f"report    {folder.report}" in text
    assert folder.versions == ["1"]
    text = "\n".join(folder.command("--resume", "--epochs", "4").finish())
    assert "continuing tiny run 1 with epoch 3 of 4" in text
    assert [row["epoch"] for row in folder.metrics()] == ["1", "2", "3", "4"]
    assert sorted(folder.versions) == ["1", "2"]
    assert folder.run.record()["published_version"] == 2
    # The rate continues on the schedule of a run of four epochs, and doesn't stay at its end.
    rates = [float(row["learning_rate"]) for row in folder.metrics()]
    assert rates[2] > 2 * rates[3] > 1e-3


def test_a_finished_run_writes_its_missing_report(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.command("--epochs", "2").finish()
    figures = folder.report_figures()
    folder.report.unlink()
    lines = folder.command("--resume").finish()
    assert f"report    {folder.report}" in lines
    assert folder.report_figures() == figures
    (shown,) = [line for line in lines if line.startswith("to write it again: ")]
    folder.report.unlink()
    program, *command = shlex.split(shown.partition(": ")[2])
    assert program == "convscope-exporter"
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr
    notes = ["the training inputs of tiny v1 are left out (recognized by content)"]
    assert folder.report_figures() == figures | {"notes": notes}
    # Without its bundle, the report can't be written.
    folder.report.unlink()
    shutil.rmtree(tmp_path / "models/tiny/1")
    text = "\n".join(folder.command("--resume").finish())
    assert f"report    missing; it can't be written, because {tmp_path}" in text
    assert "to write it again" not in text


def test_new_epochs_that_are_not_better_are_in_the_report(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.command("--epochs", "2").finish()
    run = folder.run
    best = torch.load(run.best, weights_only=True)
    (history,) = best["callbacks"]["epochs"].values()
    history[-1]["val_loss"] = 0.0  # no later epoch is better
    for path in (run.last, run.best):
        torch.save(best, path)
    text = "\n".join(folder.command("--resume", "--epochs", "3").finish())
    assert "epoch 2 is already published as v1" in text
    assert f"report    {folder.report}" in text
    assert "<dt>epochs</dt><dd>3</dd>" in folder.report.read_text()


def test_random_weights_are_frozen_on_request(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    options = ("--freeze", "0", "--random-weights")
    folder.command("--epochs", "1", *options).finish()
    before = torch.load(folder.run.last, weights_only=True)["state_dict"]
    folder.command("--epochs", "2", "--resume", *options).finish()
    after = torch.load(folder.run.last, weights_only=True)["state_dict"]
    assert torch.equal(before["network.0.weight"], after["network.0.weight"])
    assert not torch.equal(before["network.5.weight"], after["network.5.weight"])


def test_a_run_that_was_not_published_is_published_without_more_training(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    with pytest.raises(RuntimeError, match="no module 'absent'"):
        folder.command("--epochs", "2", "--feature-map", "absent").finish()
    trained = folder.metrics()
    # A process that is killed after it saved the last checkpoint leaves these as they were.
    folder.run.write("metrics.csv", metrics_csv(read_history(folder.run.last)[:1]))
    folder.run.update(best_epoch=1)
    folder.run.best.unlink()
    text = "\n".join(folder.command("--resume").finish())
    assert "tiny run 1 has all of its epochs, and isn't published yet" in text
    assert folder.metrics() == trained
    assert folder.run.record()["best_epoch"] == folder.run.record()["published_epoch"] == 2
    assert folder.versions == ["1"]
    manifest = json.loads((folder.path / "models/tiny/1/manifest.json").read_text())
    # A process that is killed after the publication, but before it is recorded, leaves this.
    folder.run.update(
        finished=False,
        published_version=None,
        published_epoch=None,
        publishing={
            "version": 1,
            "epoch": 2,
            "weights": manifest["provenance"]["weights"],
        },
    )
    text = "\n".join(folder.command("--resume").finish())
    assert "epoch 2 of 2 is published as v1" in text
    assert folder.versions == ["1"]


def test_a_run_is_not_resumed_with_other_settings(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.command("--epochs", "1").finish()
    weights = tmp_path / "old.pth"
    torch.save(torch.load(folder.run.best, weights_only=True)["state_dict"], weights)
    for options, message in (
        (("--mean", "0.5", "--std", "0.5"), "has preprocessing 'pixels/255, shorter"),
        (("--no-augment",), "has augmentation True, but this command has False"),
        (("--weights", str(weights)), "has initial weights 'random'"),
    ):
        with pytest.raises(RuntimeError, match=message):
            folder.command("--resume", "--epochs", "2", *options).finish()
    with np.load(tmp_path / "bars.npz") as arrays:
        images, labels = arrays["x_train"], arrays["y_train"]
    # Fewer inputs; or as many, of which other ones would be held back.
    for order in (slice(10, None), slice(None, None, -1)):
        np.savez(tmp_path / "bars.npz", x_train=images[order], y_train=labels[order])
        with pytest.raises(RuntimeError, match="the dataset has changed since tiny run 1 was"):
            folder.command("--resume", "--epochs", "2").finish()
    np.savez(tmp_path / "bars.npz", x_train=images, y_train=labels)
    with pytest.raises(RuntimeError, match="has seed 0, but this command has 1"):
        folder.command("--resume", "--epochs", "2", "--seed", "1").finish()
