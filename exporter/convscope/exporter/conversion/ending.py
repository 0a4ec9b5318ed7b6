"""Finds the activation at the end of a PyTorch network, in the operations that it runs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convscope.exporter.conversion.operator_names import onnx_name
from convscope.exporter.errors import NetworkError
from convscope.exporter.outputs.ending import Ending, Operation, classify

__all__ = ["check_returns_logits", "find_ending"]

_JOINING = ("cat", "stack")
# Only the shape of their argument matters.
_SHAPE_ONLY = frozenset(
    {
        *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"),
        *("new_zeros", "new_ones", "new_full", "new_empty"),
    }
)


def find_ending(network: nn.Module, example: Tensor) -> Ending[Tensor]:
    """Run an example, and return what the network computes last.

    Args:
        network: The network, in evaluation mode.
        example: An input with its batch, float32 [N, C, ...].
    """
    planes = example.clone()  # a network may change its input in place
    with torch.no_grad(), _Recorder(planes) as recorder:
        output = network(planes)
    return classify(recorder.operation(output) if isinstance(output, Tensor) else None)


def check_returns_logits(network: nn.Module, example: Tensor) -> None:
    """Check before a training that the cross-entropy loss gets logits or log-probabilities.

    Args:
        network: The network.
        example: An input with its batch, float32 [N, C, ...].

    Raises:
        NetworkError: The network ends in softmax or sigmoid, and the loss would
            apply a second softmax.
    """
    was_training = network.training
    ending = find_ending(network.eval(), example)
    network.train(was_training)
    if ending.kind in ("softmax", "sigmoid"):
        raise NetworkError(
            f"the network ends in {ending.kind}, but the loss applies a softmax to its output; "
            f"return the values before the {ending.kind}, the logits"
        )


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations that depend on an input, also where autograd is off.

    Args:
        image: The input.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # The tensors are kept, because an id is unique only as long as its object lives.
        self._known: dict[int, tuple[Tensor, Operation[Tensor]]] = {
            id(image): (image, Operation("Input"))
        }
        self._written: dict[int, Operation[Tensor]] = {}

    def operation(self, tensor: Tensor) -> Operation[Tensor] | None:
        """Return the operation that computed a tensor; None if it doesn't depend on the input."""
        _, known = self._known.get(id(tensor), (None, None))
        return known or self._written.get(_storage(tensor))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        own: str = func.overloadpacket.__name__
        if own in _JOINING and (args[1] if len(args) > 1 else (kwargs or {}).get("dim", 0)) == 0:
            own = "join_batch"  # a loop over the images
        if own not in _SHAPE_ONLY:
            self._record(own, tree_leaves((args, kwargs or {})), tree_leaves(found))
        return found

    def _record(self, own: str, given: list[Any], found: list[Any]) -> None:
        known = [self.operation(one) for one in given if isinstance(one, Tensor)]
        arguments = tuple(one for one in known if one is not None)
        if not arguments:
            return
        in_place = own.endswith("_") and not own.endswith("__")
        name = onnx_name(own, divides_constant=known[0] is None, same_size=_same_size(given, found))
        operation: Operation[Tensor] = Operation(name, arguments)
        for tensor in found:
            if isinstance(tensor, Tensor):
                if in_place:
                    self._overwrite(_storage(tensor), operation)
                self._known[id(tensor)] = (tensor, operation)

    def _overwrite(self, storage: int, operation: Operation[Tensor]) -> None:
        """Let every view of a changed storage depend on the change."""
        self._written[storage] = operation
        views = [key for key, (one, _) in self._known.items() if _storage(one) == storage]
        for key in views:
            self._known[key] = (self._known[key][0], operation)


def _same_size(given: list[Any], found: list[Any]) -> bool:
    sizes = [one.numel() for one in (*given[:1], *found) if isinstance(one, Tensor)]
    return len(sizes) == 2 and sizes[0] == sizes[1]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
