"""PyTorch's tables of operators, built once per process instead of for every export."""

import copy
from contextlib import suppress
from functools import cache

__all__ = ["share_operators"]


def share_operators() -> None:
    """Let every export in this process use a copy of one table of ONNX operators.

    Building it takes a second. PyTorch also looks several times per export for operators that
    were added since; that happens once too.
    Both are internal to PyTorch: where they are missing, every export does its own work.
    """
    with suppress(ImportError, AttributeError):
        from torch._export import utils

        utils._materialize_cpp_cia_ops = cache(utils._materialize_cpp_cia_ops)
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
