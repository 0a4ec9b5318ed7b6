"""PyTorch's table of ONNX operators, built once per process instead of for every export."""

import copy
from functools import cache

__all__ = ["share_operators"]


def share_operators() -> None:
    """Let every export in this process use a copy of one table. Building it takes a second.

    The table is internal to PyTorch: where it is missing, every export builds its own.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:
        return
    build = cache(ONNXRegistry.from_torchlib)

    def from_torchlib(**options: int) -> ONNXRegistry:
        built = build(**options)
        own = copy.copy(built)
        own.functions = {name: list(found) for name, found in built.functions.items()}
        return own

    ONNXRegistry.from_torchlib = staticmethod(from_torchlib)  # type: ignore[method-assign, assignment]
