"""Rejects a network that still has random weights, unless the user asked for them."""

from collections.abc import Callable

import torch
from torch import nn

from convscope.exporter.conversion.source import Source
from convscope.exporter.errors import NetworkError

__all__ = ["check_trained", "random_parameters"]

# The seed of a second network; the first one has another.
OTHER_SEED = 1
MAX_NAMED = 3


def random_parameters(network: nn.Module, build: Callable[[], nn.Module]) -> list[str]:
    """Return the names of the parameters that a second call of the factory sets differently.

    A factory that loads weights returns the same ones in every call. Random
    values differ from call to call, unless the factory sets the seed itself.

    Args:
        network: The network that the factory returned.
        build: Calls the factory again.
    """
    torch.manual_seed(OTHER_SEED)
    other = dict(build().named_parameters())
    return [
        name
        for name, values in network.named_parameters()
        if name not in other
        or values.shape != other[name].shape
        or not torch.equal(values, other[name])
    ]


def check_trained(source: Source) -> None:
    """Check that no parameter is random without the user's consent.

    Raises:
        NetworkError: Some are.
    """
    if not source.untrained:
        return
    named = ", ".join(source.untrained[:MAX_NAMED])
    others = len(source.untrained) - MAX_NAMED
    more = f" and {others} more" if others > 0 else ""
    raise NetworkError(
        f"{source.architecture} is untrained: {named}{more} have random values; pass trained "
        "weights with --weights FILE, let the factory load them, or pass --random-weights to try "
        "out serving"
    )
