"""Finds out whether ONNX Runtime adds INT8 products exactly on this CPU.

Unsigned activations times signed weights are the fast form of INT8. CPUs with integer
instructions (VNNI, AMX) add their products in 32 bits. On other x86 CPUs ONNX Runtime adds pairs
of them in 16 bits, which saturate, unless a session has the option `session.x64quantprecision`.
The option has to be left out where it isn't needed: with it, EfficientNet-Lite0 in INT8 took 2.4
times as long on a CPU with both instructions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXACT_SUMS_OPTION", "sums_are_exact"]

# The option of a session, to be set to "1" on CPUs whose sums aren't exact without it.
EXACT_SUMS_OPTION = "session.x64quantprecision"

# sums = MatMulInteger(a, b), serialized, because a server doesn't load the library `onnx`.
_GRAPH = (
    b'\x08\x08:V\n\x1b\n\x01a\n\x01b\x12\x04sums"\rMatMulInteger\x12\x01g'
    b"Z\x0f\n\x01a\x12\n\n\x08\x08\x02\x12\x04\n\x00\n\x00"
    b"Z\x0f\n\x01b\x12\n\n\x08\x08\x03\x12\x04\n\x00\n\x00"
    b"b\x12\n\x04sums\x12\n\n\x08\x08\x06\x12\x04\n\x00\n\x00B\x04\n\x00\x10\x11"
)
_SIDE = 64
_LARGEST_UNSIGNED, _LARGEST_SIGNED = 255, 127

Run = Callable[[bytes, Mapping[str, NDArray[np.generic]]], Any]


def sums_are_exact(run: Run) -> bool:
    """Return whether the largest INT8 products are added without saturation.

    Args:
        run: Opens a graph in ONNX Runtime, on the CPU and without the option, runs it on the
            values of its inputs, and returns its only output.
    """
    factors = {
        "a": np.full((_SIDE, _SIDE), _LARGEST_UNSIGNED, np.uint8),
        "b": np.full((_SIDE, _SIDE), _LARGEST_SIGNED, np.int8),
    }
    sums = np.asarray(run(_GRAPH, factors))
    return bool(np.all(sums == _SIDE * _LARGEST_UNSIGNED * _LARGEST_SIGNED))
