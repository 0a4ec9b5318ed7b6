"""Runs a network in PyTorch without its numbers, and records what it computes where."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from convscope.exporter.architectures.registry import Architecture
from convscope.exporter.datasets.registry import LABELS
from convscope.exporter.errors import NetworkError, reason
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.exporter.pyramid.levels import Event, NetworkPyramid, levels_of

__all__ = ["measure_pyramid"]

_CLASSES = 10  # of a network whose classes nothing determines
_MATRIX_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


def measure_pyramid(row: Architecture) -> NetworkPyramid:
    """Return the pyramid of a network of the registry, of timm or of a user's file.

    PyTorch's meta device computes shapes only, so neither weights nor time are needed. A
    network that doesn't run there runs on the CPU.

    Raises:
        NetworkError: The network doesn't run, or isn't convolutional.
    """
    expects = row.preprocessing()
    is_image = isinstance(expects, ImagePreprocessing)
    shape = (expects.channels, *expects.shape[:-1]) if is_image else expects.shape
    try:
        events, classes = _run_on("meta", row, shape)
    except NetworkError:
        events, classes = _run_on("cpu", row, shape)
    return NetworkPyramid(row.name, shape, classes, levels_of(row.name, shape, events))


def _run_on(device: str, row: Architecture, shape: tuple[int, ...]) -> tuple[list[Event], int]:
    try:
        return _run(row, shape, device)
    except Exception as error:  # a user's code may raise anything
        raise NetworkError(
            f"{row.name} doesn't run on an input {list(shape)}: {reason(error)}"
        ) from error


def _classes(row: Architecture) -> int:
    if not row.classifies or row.is_custom:
        return 0
    known = len(row.labels()) or (len(LABELS[row.dataset]) if row.dataset in LABELS else 0)
    return known or _CLASSES


def _run(row: Architecture, shape: tuple[int, ...], device: str) -> tuple[list[Event], int]:
    """Return the steps of a run, and the number of classes."""
    recorder = _Recorder(len(shape) - 1)
    with torch.device(device):
        network = row.build(_classes(row), shape[0]).eval()
        example = torch.zeros((1, *shape))
        with torch.no_grad(), _with_hooks(network, recorder.record_parameters), recorder:
            output = network(example)
    is_classifier = row.classifies and isinstance(output, Tensor) and output.ndim == 2
    return recorder.events, output.shape[1] if is_classifier else 0


@contextmanager
def _with_hooks(
    network: nn.Module, record: Callable[[nn.Module, object, object], None]
) -> Iterator[None]:
    """Call a function after each module that has weights of its own."""
    owners = [one for one in network.modules() if any(True for _ in one.parameters(False))]
    handles = [owner.register_forward_hook(record) for owner in owners]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records each convolution, pool, concatenation and matrix product.

    Args:
        dimensions: The number of sizes that a position has, such as 2 in an image.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._dimensions = dimensions
        self._known: set[tuple[int, ...]] = set()
        self._counted: set[int] = set()
        self.events: list[Event] = []

    def record_parameters(self, module: nn.Module, inputs: object, output: object) -> None:
        """Record the weights of a module that has run; a shared weight counts once."""
        found = [one for one in module.parameters(recurse=False) if id(one) not in self._counted]
        self._counted.update(map(id, found))
        if found:
            self.events.append(Event(parameters=sum(one.numel() for one in found)))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator of PyTorch and record it."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        output = result[0] if isinstance(result, (tuple, list)) and result else result
        if isinstance(output, Tensor):
            self._record(name, args, output)
        return result

    def _record(self, name: str, args: Any, output: Tensor) -> None:
        sizes = tuple(output.shape[2:])
        if name in ("convolution", "_convolution"):
            self._add(output, sizes, _convolution(args, output))
        elif name in _MATRIX_PRODUCTS:
            left = args[name in ("addmm", "baddbmm")]
            rows = output.numel() // output.shape[-1]
            cost = output.numel() * left.shape[-1]
            self.events.append(Event(rows=rows, channels=output.shape[-1], multiply_adds=cost))
        elif output.ndim == self._dimensions + 2 and (
            "pool" in name or name == "mean" or (name == "cat" and sizes in self._known)
        ):
            self._add(output, sizes, 0)

    def _add(self, output: Tensor, sizes: tuple[int, ...], multiply_adds: int) -> None:
        self._known.add(sizes)
        self.events.append(Event(sizes, math.prod(sizes), output.shape[1], multiply_adds))


def _convolution(args: Any, output: Tensor) -> int:
    inputs: Tensor
    weight: Tensor
    inputs, weight, is_transposed = args[0], args[1], args[6]
    positions = inputs.numel() if is_transposed else output.numel()
    return positions * math.prod(weight.shape[1:])
