"""Finds the stages of a network: the last module at each resolution."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["find_stages"]

# What only prepares the head, or changes nothing.
_NO_STAGES = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.Dropout,
    nn.Identity,
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A module that ran, and the size of its feature map."""

    path: str
    size: tuple[int, ...]


@torch.inference_mode()
def find_stages(network: nn.Module, example: Tensor) -> tuple[str, ...]:
    """The paths of the modules that end a stage of the pyramid, from the input to the head.

    A stage is everything that a network computes at one resolution. Where a
    module and its container end together, the container stands for both, unless
    it holds an earlier stage too.

    Args:
        network: The network.
        example: An input with its batch, float32 [N, C, ...], of which only the
            shape matters.
    """
    seen = _watch(network.eval(), example)
    places = example.ndim - 2
    seen = [one for one in seen if len(one.size) == places and max(one.size) > 1]
    chosen: list[str] = []
    for size in dict.fromkeys(one.size for one in seen):
        ending = [one.path for one in seen if one.size == size]
        free = [path for path in ending if not _holds_any(path, chosen)]
        if free:
            chosen.append(free[-1])  # containers end after what they hold
    return tuple(chosen)


def _watch(network: nn.Module, example: Tensor) -> list[_Seen]:
    """Run an example, and note each module as it ends."""
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


def _holds_any(path: str, chosen: list[str]) -> bool:
    return any(other == path or other.startswith(f"{path}.") for other in chosen)
