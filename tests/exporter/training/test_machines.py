"""Training on two machines, which are network namespaces where these can be created."""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from support.hosts import Host, two_hosts
from support.training import TrainingCommand

from convscope.exporter.datasets import Split
from convscope.exporter.errors import DatasetError, RunError
from convscope.exporter.training.batches import training_loader
from convscope.exporter.training.machines import join_machines
from convscope.exporter.training.processes import is_first_process
from convscope.exporter.training.sharing import check_agreement, check_shares
from convscope.exporter.training.splits import Splits

INPUTS, VALIDATION, PORT = 288, 31, 29517
OPTIONS = ["--input", "1x8x8", "--no-explanations", "--no-augment"]
OPTIONS += ["--batch-size", "32", "--learning-rate", "0.01"]

# The weights don't depend on the normalization, which sees other batches in each process.
NETWORK = """from torch import nn


class Watched(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.dense = nn.Linear(8 * 3 * 3, num_classes)

    def forward(self, planes):
        maps = self.conv(planes).relu()
        return self.dense(maps.flatten(1)) + 0 * self.norm(maps).mean((1, 2, 3))[:, None]


def watched(num_classes):
    return Watched(num_classes)
"""


def bars(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images with a brighter row, whose position is the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = random.integers(0, 120, (count, 8, 8, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 1] += 100
    return images, labels


@dataclass(frozen=True)
class Machine:
    """A machine with a disk of its own: a network, a dataset, its runs and its models."""

    path: Path

    def __post_init__(self) -> None:
        self.path.mkdir()
        (self.path / "mine.py").write_text(NETWORK)
        arrays: dict[str, Any] = {}
        for seed, (name, count) in enumerate(
            (("train", INPUTS), ("val", VALIDATION), ("test", 30))
        ):
            arrays[f"x_{name}"], arrays[f"y_{name}"] = bars(count, seed)
        np.savez(self.path / "bars.npz", **arrays)

    def train(self, *options: str, host: Host | None = None) -> TrainingCommand:
        arguments = [
            f"{self.path / 'mine.py'}:watched",
            "--dataset",
            f"npz:{self.path / 'bars.npz'}",
        ]
        places = ["--repository", str(self.path / "models"), "--runs", str(self.path / "runs")]
        log = self.path / f"{len(list(self.path.glob('*.log')))}.log"
        namespace = None if host is None else host.namespace
        return TrainingCommand([*arguments, *OPTIONS, *places, *options], log, namespace)

    def metrics(self) -> list[dict[str, float]]:
        with (self.path / "runs/watched/1/metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        compared = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")
        return [{name: float(row[name]) for name in compared} for row in rows]

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the weights after the last epoch."""
        path = self.path / "runs/watched/1/last.ckpt"
        weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
        return weights

    def digest(self) -> str:
        """Return the digest of the weights that each process prints of its own."""
        digest = sha256()
        for name, value in sorted(self.weights().items()):
            digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()[:16]


@pytest.fixture
def machines(tmp_path: Path) -> tuple[Machine, Machine, Machine]:
    alone, first, second = (Machine(tmp_path / name) for name in ("alone", "first", "second"))
    return alone, first, second


@pytest.mark.slow(seconds=20)
@pytest.mark.timeout(600)
def test_two_machines_train_as_one(machines: tuple[Machine, Machine, Machine]) -> None:
    alone, first, second = machines
    with two_hosts() as hosts:
        joined = ["--nodes", "2", "--main-address", f"{hosts[0].address}:{PORT}"]
        follower = second.train("--epochs", "3", *joined, "--node-rank", "1", host=hosts[1])
        publisher = first.train("--epochs", "3", *joined, "--node-rank", "0", host=hosts[0])
        alone.train("--epochs", "3").finish()
        shown = "\n".join(publisher.finish())
        of_follower = "\n".join(follower.finish())
        share = f"trained on {INPUTS // 2} of {INPUTS} inputs in each epoch"
        assert f"processes 2, each {share}; weights {first.digest()}" in shown
        assert f"process 1 {share}, and ends with the weights {first.digest()}" in of_follower
        _check_equal(first, alone)
        _check_served(first)

        # The second machine sees the runs of the first one, as on a shared disk.
        joined += ["--epochs", "4", "--resume"]
        runs = ["--runs", str(first.path / "runs")]
        follower = second.train(*joined, *runs, "--node-rank", "1", host=hosts[1])
        shown = "\n".join(first.train(*joined, "--node-rank", "0", host=hosts[0]).finish())
        of_follower = "\n".join(follower.finish())
    assert "continuing watched run 1 with epoch 4 of 4" in shown
    assert f"weights {first.digest()}" in of_follower
    assert len(first.metrics()) == 4
    assert not (second.path / "models").exists()
    assert not (second.path / "runs").exists()


def _check_equal(together: Machine, alone: Machine) -> None:
    """Check that two processes come to the weights of one that has the same batches."""
    for one, other in zip(together.metrics(), alone.metrics(), strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    expected = alone.weights()
    for name, value in together.weights().items():
        # The mean variance of halves of a batch isn't the variance of the batch.
        tolerance = 0.1 if name.endswith("running_var") else 1e-3
        torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=1e-3)


def _check_served(machine: Machine) -> None:
    """Check that the published graph classifies what neither machine has trained on."""
    graph = machine.path / "models/watched/1/model.onnx"
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    images, labels = bars(60, seed=9)
    (scores,) = session.run(["probabilities"], {"images": images})
    assert (np.argmax(scores, axis=1) == labels).mean() > 0.8


def test_each_process_has_its_share_of_the_inputs_and_other_ones_in_each_epoch() -> None:
    images, _ = bars(45, seed=0)
    images[:, 0, 0, 0] = labels = np.arange(45)
    orders = []
    for epoch in range(2):
        shares = []
        for rank in range(2):
            loader = training_loader(Split(images, labels), 16, seed=0, rank=rank, processes=2)
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            batches = [batch_labels.tolist() for _, batch_labels in loader]
            assert [len(batch) for batch in batches] == [8, 8, 7]
            shares.append([label for batch in batches for label in batch])
        # One input is in both, so that both processes have as many.
        assert sorted({*shares[0], *shares[1]}) == list(range(45))
        assert len(set(shares[0]) & set(shares[1])) == 1
        orders.append(shares)
    assert orders[0] != orders[1]


def test_processes_with_other_settings_are_named() -> None:
    settings = {"seed": 0, "dataset_fingerprint": "0f"}
    check_agreement([settings, dict(settings)])
    with pytest.raises(RunError, match="process 2 has dataset fingerprint '1e', but process 0 has"):
        check_agreement([settings, settings, settings | {"dataset_fingerprint": "1e"}])


def test_more_processes_than_validation_inputs_are_an_error() -> None:
    split = Split(*bars(3, seed=0))
    check_shares(Splits(split, split, split), 3)
    with pytest.raises(DatasetError, match="3 validation inputs, which 4 processes can't share"):
        check_shares(Splits(split, split, split), 4)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment without the variables of several machines, which is restored afterwards."""
    names = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME", "TORCHELASTIC_RUN_ID")
    for name in names:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield monkeypatch
    for name in names:
        os.environ.pop(name, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((1, None, "10.0.0.1"), "for several machines; add --nodes"),
        ((2, None, "127.0.0.1"), "from 0 to 1, but --node-rank is missing"),
        ((2, 2, "127.0.0.1"), "from 0 to 1, but --node-rank is 2"),
        ((2, 1, None), "such as --main-address 10.0.0.1"),
        ((2, 1, "127.0.0.1:99999"), "a port below 65536"),
        ((2, 1, "no-such-host.invalid"), "the host 'no-such-host.invalid' is unknown here"),
    ],
)
def test_options_that_do_not_fit_together_are_errors(
    options: tuple[int, int | None, str | None],
    message: str,
    environment: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RunError, match=re.escape(message)):
        join_machines(1, *options)


def test_the_interface_to_the_first_machine_is_found(environment: pytest.MonkeyPatch) -> None:
    assert join_machines(2, 3, 1, "127.0.0.1") == (2, 3)
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
    assert os.environ["MASTER_PORT"] == "29500"
    assert not is_first_process()


def test_torchrun_decides_on_its_processes(environment: pytest.MonkeyPatch) -> None:
    variables = {"RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4"}
    variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "a"}
    for name, value in variables.items():
        environment.setenv(name, value)
    assert join_machines(1, 1, None, None) == (2, 2)
    assert not is_first_process()
    environment.setenv("RANK", "0")
    environment.setenv("LOCAL_RANK", "0")
    assert is_first_process()
    with pytest.raises(RunError, match="remove --devices, --nodes"):
        join_machines(1, 2, None, None)
