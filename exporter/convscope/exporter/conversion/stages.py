"""Finds the stages of a network: the last module at each resolution."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["find_stages"]

# Modules that only prepare the head, or change nothing.
_NO_STAGES = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.Dropout,
    nn.Identity,
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A module that has run, and the size of its feature map."""

    path: str
    size: tuple[int, ...]


@torch.inference_mode()
def find_stages(network: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Return the paths of the modules that end a stage of the pyramid, from input to head.

    A stage is everything that a network computes at one resolution. If a module
    and its container end together, the container is chosen, unless it contains
    an earlier stage too.

    Args:
        network: The network.
        example: An input with its batch, float32 [N, C, ...], of which only the
            shape matters.
    """
    seen = _watch(network.eval(), example)
    dimensions = example.ndim - 2
    seen = [one for one in seen if len(one.size) == dimensions and max(one.size) > 1]
    chosen: list[str] = []
    for size in dict.fromkeys(one.size for one in seen):
        ending = [one.path for one in seen if one.size == size]
        free = [path for path in ending if not _contains_any(path, chosen)]
        if free:
            chosen.append(free[-1])  # a container ends after its modules
    return tuple(chosen)


def _watch(network: nn.Module, example: Tensor) -> list[_Seen]:
    """Run an example, and record each module when it ends."""
    seen: list[_Seen] = []

    def recorder(path: str) -> Callable[[nn.Module, object, object], None]:
        def record(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                seen.append(_Seen(path, tuple(output.shape[2:])))

        return record

    handles = [
        module.register_forward_hook(recorder(path))
        for path, module in network.named_modules()
        if path and not isinstance(module, _NO_STAGES)
    ]
    try:
        network(example)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _contains_any(path: str, chosen: list[str]) -> bool:
    return any(other == path or other.startswith(f"{path}.") for other in chosen)
