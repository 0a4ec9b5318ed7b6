"""Finds the stages of a network: the last module at each resolution."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor, nn

from convscope.exporter.conversion.crossings import TensorKey, crossed_tensors, key_of

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
    """A module that has run.

    Args:
        path: Its path.
        size: The size of its feature map, if the channels are the first axis.
        key: What identifies its output.
    """

    path: str
    size: tuple[int, ...]
    key: TensorKey


def find_stages(network: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Return the paths of the modules that end a stage of the pyramid, from input to head.

    A stage is everything that a network computes at one resolution. It ends with the
    last module whose output every path crosses, or with the last module if there is
    no such output. If a module and its container end together, the container is
    chosen, unless it contains an earlier stage too.

    Args:
        network: The network.
        example: An input with its batch, float32 [N, C, ...], of which only the
            shape matters.
    """
    network = network.eval()
    seen, on_every_path = _watch(network, example)
    maps = [
        one for one, is_map in zip(seen, _are_maps(network, example, seen), strict=True) if is_map
    ]
    chosen: list[str] = []
    for size in dict.fromkeys(one.size for one in maps):
        ending = [one for one in maps if one.size == size and not _contains_any(one.path, chosen)]
        crossed = [one for one in ending if one.key in on_every_path]
        if last := (crossed or ending)[-1:]:  # a container ends after its modules
            chosen.append(last[0].path)
    return tuple(chosen)


def _are_maps(network: nn.Module, example: Tensor, seen: Sequence[_Seen]) -> Iterator[bool]:
    """Yield for each module whether its output has the channels first, and several positions.

    The sizes at half the input's size show it: those of positions become smaller.
    """
    dimensions = example.ndim - 2
    smaller = _sizes_at_half(network, example)
    for one, half in zip_longest(seen, smaller[: len(seen)]):
        if len(one.size) != dimensions or max(one.size) <= 1:
            yield False
        else:
            pairs = zip(one.size, half or (), strict=False)
            yield all(size > less for size, less in pairs if size > 1)


def _sizes_at_half(network: nn.Module, example: Tensor) -> list[tuple[int, ...]]:
    """Return the sizes of the modules' outputs up to where the network rejects a small input."""
    sizes: list[tuple[int, ...]] = []
    small = example.new_zeros(
        *example.shape[:2], *(max(size // 2, 1) for size in example.shape[2:])
    )
    # A copy runs, because a network may store something that depends on the size.
    network = copy.deepcopy(network)

    def record(path: str, output: Tensor) -> None:
        sizes.append(tuple(output.shape[2:]))

    with _watched(network, record), torch.inference_mode(), suppress(Exception):
        network(small)  # the user's code may raise anything
    return sizes


def _watch(network: nn.Module, example: Tensor) -> tuple[list[_Seen], set[TensorKey]]:
    """Run an example; return each module in the order in which they end, and what is crossed."""
    seen: list[_Seen] = []

    def record(path: str, output: Tensor) -> None:
        seen.append(_Seen(path, tuple(output.shape[2:]), key_of(output)))

    with _watched(network, record):
        return seen, crossed_tensors(network, example)


@contextmanager
def _watched(network: nn.Module, record: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call a function with the path and the output of each module that ends."""

    def recorder(path: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                record(path, output)

        return hook

    handles = [
        module.register_forward_hook(recorder(path))
        for path, module in network.named_modules()
        if path and not isinstance(module, _NO_STAGES)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _contains_any(path: str, chosen: list[str]) -> bool:
    return any(other == path or other.startswith(f"{path}.") for other in chosen)
