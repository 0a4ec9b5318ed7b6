"""Checks what the factory of a user's file returned."""

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from convscope.exporter.errors import NetworkError

__all__ = ["checked_network"]


def checked_network(returned: object, name: str) -> nn.Module:
    """Return a network without the wrappers of DataParallel and torch.compile.

    Args:
        returned: What the factory returned.
        name: The factory's name in messages.

    Raises:
        NetworkError: It isn't a network, or can't be converted.
    """
    network = returned
    while isinstance(network, nn.DataParallel) or hasattr(network, "_orig_mod"):
        network = network.module if isinstance(network, nn.DataParallel) else network._orig_mod
    if not isinstance(network, nn.Module):
        raise NetworkError(f"{name} returned {_shown(network)} instead of an nn.Module")
    if isinstance(network, torch.jit.ScriptModule):
        raise NetworkError(
            f"{name} returned TorchScript, which can't be converted; return the network that it "
            "was made of, with the weights of its state_dict()"
        )
    if any(isinstance(one, UninitializedParameter) for one in network.parameters()):
        raise NetworkError(
            f"{name} returned lazy modules without a shape; run one input through the network in "
            "the factory"
        )
    return network


def _shown(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
