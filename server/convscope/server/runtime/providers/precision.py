"""The precision in which a provider really computes.

An option names a wish: OpenVINO ignores one that the CPU can't fulfil, or that is misspelled,
without an error. So a graph of a single convolution, opened with the same options, multiplies
numbers by 1 that only some formats can represent.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["PROBE", "UNKNOWN", "measure_precision"]

UNKNOWN = "unknown"
# x float32 [1, 1, 1, 4] -> Conv with the weight 1 -> y. As bytes, because a server that checks
# no graph itself doesn't load the library `onnx`.
PROBE = (
    b'\x08\x08\x12\x00:c\n\x0f\n\x01x\n\x01w\x12\x01y"\x04Conv\x12\x01p*\x13\x08\x01\x08\x01\x08'
    b'\x01\x08\x01\x10\x01"\x04\x00\x00\x80?B\x01wZ\x1b\n\x01x\x12\x16\n\x14\x08\x01\x12\x10\n\x02'
    b"\x08\x01\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x04b\x1b\n\x01y\x12\x16\n\x14\x08\x01\x12\x10"
    b"\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x04B\x04\n\x00\x10\x11"
)
# They need 7, 9 and 20 bits after the point; the last one exceeds the range of fp16.
_NUMBERS = (1 + 2**-7, 1 + 2**-9, 1 + 2**-20, 2.0**17)
# The formats, by which of the numbers they represent exactly.
_FORMATS: Mapping[tuple[bool, ...], str] = {
    (True, True, True, True): "fp32",
    (True, True, False, True): "tf32",
    (True, True, False, False): "fp16",
    (True, False, False, True): "bf16",
}


class _Runs(Protocol):
    """The part of a session that is used."""

    def run(
        self, outputs: list[str], feeds: dict[str, NDArray[np.float32]], /
    ) -> list[NDArray[np.float32]]:
        """Run the graph."""


def measure_precision(open_probe: Callable[[bytes], _Runs]) -> str:
    """Return the precision: "fp32", "tf32", "bf16", "fp16" or "unknown".

    Args:
        open_probe: Opens a session of a graph, with the options of the provider.
    """
    numbers = np.array(_NUMBERS, np.float32).reshape(1, 1, 1, -1)
    (found,) = open_probe(PROBE).run(["y"], {"x": numbers})
    exact = tuple(bool(same) for same in (found == numbers).ravel())
    return _FORMATS.get(exact, UNKNOWN)
