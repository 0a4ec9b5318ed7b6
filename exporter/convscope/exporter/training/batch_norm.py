"""Lets the running statistics of batch norm follow short epochs."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["follow_short_epochs"]

# After this many epochs, at most this share of the statistics is older.
EPOCHS = 2
OLD_SHARE = 0.1


def follow_short_epochs(network: nn.Module, steps_per_epoch: int) -> None:
    """Raise the momentum of batch norm for a small dataset.

    Some networks have a momentum of 0.01. With three steps per epoch, their
    statistics then lag dozens of epochs behind the weights: the training loss
    falls, while the network in evaluation mode stays at chance level.
    """
    least = 1 - OLD_SHARE ** (1 / (EPOCHS * steps_per_epoch))
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.momentum is not None:
            module.momentum = max(module.momentum, least)
