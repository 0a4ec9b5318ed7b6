"""The running statistics of batch norm: in short epochs, and in several processes."""

from collections.abc import Sequence

from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

__all__ = ["follow_short_epochs", "share_statistics"]

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


def share_statistics(network: nn.Module, processes: int, frozen: Sequence[nn.Module]) -> None:
    """Give all processes of a run the same buffers.

    Each process has seen only its share of the inputs, so the running statistics of its
    normalizations are averaged. The other buffers become those of the first process.

    Args:
        network: The network.
        processes: The number of processes.
        frozen: The modules whose buffers stay as they are.
    """
    for module in network.modules():
        if module in frozen:
            continue
        for buffer in module.buffers(recurse=False):
            if isinstance(module, _NormBase) and buffer.is_floating_point():
                distributed.all_reduce(buffer)
                buffer /= processes
            else:
                distributed.broadcast(buffer, src=0)
