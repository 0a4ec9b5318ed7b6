"""The gate for repeatable results: the same input has the same result in every run."""

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.conversion.parity import run_torch
from convscope.exporter.errors import NetworkError

__all__ = ["check_repeatable"]

# Sums in another order differ by less, and active dropout by far more.
_TOLERANCE = 1e-4


def check_repeatable(network: ServableNetwork, inputs: NDArray[np.generic]) -> None:
    """Run a network twice, and compare the outputs.

    Raises:
        NetworkError: They differ.
    """
    first, second = run_torch(network, inputs), run_torch(network, inputs)
    for name, values in first.items():
        magnitude = float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
        if not np.allclose(
            values, second[name], rtol=0, atol=_TOLERANCE * magnitude, equal_nan=True
        ):
            raise NetworkError(_message(network, name))


def _message(network: ServableNetwork, output: str) -> str:
    active = [name for name, module in network.network.named_modules() if module.training]
    cause = (
        f"the module {active[0] or 'itself'!r} stays in training mode after eval()"
        if active
        else "dropout or another random operation is active in evaluation mode, or forward "
        "changes a value that it uses"
    )
    return (
        f"the network returns another {output!r} in every run for the same input: {cause}; use "
        "nn.Dropout, or F.dropout(x, p, training=self.training)"
    )
