"""Checkpoints as training programs write them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convscope.exporter.architectures.weights import fill, read_tensors
from convscope.exporter.errors import WeightsError

State = dict[str, Tensor]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer": {}},
        lambda state: {"epoch": 1, "model": {"state_dict": state}},
        lambda state: {"ema": state},
        lambda state: {"ema": {"module": state}},
        lambda state: prefixed(state, "module."),
        lambda state: prefixed(state, "model."),
        lambda state: prefixed(state, "net.backbone."),
        lambda state: {"state_dict": prefixed(state, "model._orig_mod.")},
        lambda state: prefixed(state, "model.") | {"loss.weight": torch.ones(2)},
    ],
)
def test_tensors_are_matched_by_names_and_shapes(
    tmp_path: Path, wrap: Callable[[State], Any]
) -> None:
    trained, other = network(1), network(2)
    torch.save(wrap(trained.state_dict()), tmp_path / "mine.pth")
    fill(other, read_tensors(tmp_path / "mine.pth"), "mine.pth", classes=2)
    for name, value in trained.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_a_prefix_of_the_network_is_added(tmp_path: Path) -> None:
    class Wrapped(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.body = network(seed)

    trained, other = network(1), Wrapped(2)
    torch.save(trained.state_dict(), tmp_path / "mine.pth")
    fill(other, read_tensors(tmp_path / "mine.pth"), "mine.pth", classes=2)
    assert torch.equal(other.body.state_dict()["0.weight"], trained.state_dict()["0.weight"])


def test_other_weights_than_the_moving_average_come_first(tmp_path: Path) -> None:
    torch.save(
        {"ema": network(1).state_dict(), "model": network(2).state_dict()}, tmp_path / "mine.pth"
    )
    found = read_tensors(tmp_path / "mine.pth")
    assert torch.equal(found["0.weight"], network(2).state_dict()["0.weight"])


@pytest.mark.parametrize("data", [b"", b"no weights", b"PK\x03\x04broken", b"\x89HDF\r\n\x1a\n"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_another_program_is_explained(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=f"mine{suffix} can't be read as weights"):
        read_tensors(path)


def test_a_network_with_other_names_is_named(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.ones(3)}, tmp_path / "mine.pth")
    with pytest.raises(WeightsError, match=r"tensors of mine\.pth don't fit the network"):
        fill(network(), read_tensors(tmp_path / "mine.pth"), "mine.pth", classes=2)
