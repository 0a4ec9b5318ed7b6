"""Runs a user's network before it is converted, to learn what it takes and returns."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convscope.exporter.errors import NetworkError, reason
from convscope.exporter.preprocessing import ImagePreprocessing, InputRule

__all__ = ["TRIAL_BATCH", "input_hint", "run_once", "run_zeros", "zeros"]

TRIAL_BATCH = 2  # a batch of 1 would hide a squeezed output


def zeros(expects: InputRule) -> Tensor:
    """Return zeros as the network itself takes them, float32 [1, C, ...]."""
    if isinstance(expects, ImagePreprocessing):
        return torch.zeros(1, expects.channels, expects.height, expects.width)
    return torch.zeros(1, *expects.shape)


def run_zeros(network: nn.Module, expects: InputRule) -> object:
    """Run a batch of TRIAL_BATCH zeros; return whatever the network returns.

    Raises:
        NetworkError: The network can't take the input.
    """
    return run_once(network, torch.cat([zeros(expects)] * TRIAL_BATCH))


@torch.inference_mode()
def run_once(network: nn.Module, *batches: Tensor) -> object:
    """Run batches one after the other; return what the network returns for the last one.

    A copy runs, because a network may store something in its first run. It has the same
    parameters, which may be hundreds of megabytes.

    Raises:
        NetworkError: The network can't take an input.
    """
    shared = {id(one): one for one in network.parameters() if not is_lazy(one)}
    fresh, output = copy.deepcopy(network, shared).eval(), None
    for planes in batches:
        try:
            output = fresh(planes)
        except Exception as error:  # the user's code may raise anything
            raise NetworkError(
                f"the network can't take {list(planes.shape)}: "
                f"{type(error).__name__}: {reason(error)}{input_hint(planes.ndim)}"
            ) from error
    return output


def input_hint(dimensions: int) -> str:
    """Return a hint for a network that can't take a batch with this many dimensions."""
    if dimensions == 4:
        return ""
    kind = "signal, CxL" if dimensions == 3 else "clip, CxTxHxW"
    return f"; --input declares a {kind}; an image is declared as CxHxW, such as 3x224x224"
