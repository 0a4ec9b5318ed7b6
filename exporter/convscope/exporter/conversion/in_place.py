"""Lets a network compute out of place, which PyTorch converts in about half of the time.

It splits an activation that overwrites its input, such as ReLU6, into many small operations.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convscope.exporter.conversion.graph import ServableNetwork

__all__ = ["compute_out_of_place"]


@torch.inference_mode()
def compute_out_of_place(network: ServableNetwork, examples: Tensor) -> None:
    """Switch the modules that overwrite their input, unless that changes a result.

    A network may use a tensor again that one of its modules has overwritten.

    Args:
        network: The network, which is changed.
        examples: A batch of inputs that reach all parts of the activations, such as an image and
            noise.
    """
    modules = [one for one in network.network.modules() if vars(one).get("inplace") is True]
    if not modules:
        return
    expected = network(examples)
    _set_in_place(modules, False)
    if not all(map(torch.equal, network(examples), expected)):
        _set_in_place(modules, True)


def _set_in_place(modules: Sequence[nn.Module], choice: bool) -> None:
    for module in modules:
        vars(module)["inplace"] = choice
