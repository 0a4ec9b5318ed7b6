"""Runs zeros through a user's network, to learn what it returns."""

import torch
from torch import Tensor, nn

from convscope.exporter.errors import NetworkError
from convscope.exporter.preprocessing import ImagePreprocessing, InputRule

__all__ = ["TRIAL_BATCH", "run_zeros", "zeros"]

TRIAL_BATCH = 2  # a batch of 1 would hide a squeezed output


def zeros(expects: InputRule) -> Tensor:
    """Return zeros as the network itself takes them, float32 [1, C, ...]."""
    if isinstance(expects, ImagePreprocessing):
        return torch.zeros(1, expects.channels, expects.height, expects.width)
    return torch.zeros(1, *expects.shape)


@torch.inference_mode()
def run_zeros(network: nn.Module, expects: InputRule) -> object:
    """Run a batch of TRIAL_BATCH zeros; return whatever the network returns.

    Raises:
        NetworkError: The network can't take the input.
    """
    planes = torch.cat([zeros(expects)] * TRIAL_BATCH)
    try:
        return network.eval()(planes)
    except RuntimeError as error:
        raise NetworkError(
            f"the network can't take {list(planes.shape)}: {str(error).splitlines()[0]}"
        ) from error
