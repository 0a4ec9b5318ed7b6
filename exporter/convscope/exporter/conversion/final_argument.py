"""Finds the tensor that a network applies its final activation to."""

import weakref
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from convscope.exporter.conversion.operator_names import onnx_name
from convscope.exporter.outputs.ending import Operation, classify

__all__ = ["FinalArgument"]


class FinalArgument(TorchFunctionMode):
    """Records the functions that a network applies to an input, also during an export.

    Args:
        planes: The input.
    """

    def __init__(self, planes: Tensor) -> None:
        super().__init__()
        root: Operation[Tensor] = Operation("Input")
        # Weak references, so that the tensors of the whole network aren't kept.
        self._known = {id(planes): (weakref.ref(planes), root)}

    def of(self, output: Tensor) -> Tensor | None:
        """Return the argument of the activation that computes an output.

        It is None if the activation isn't recognized, or its argument was overwritten.
        """
        argument = classify(self._operation(output)).argument
        return None if argument is output else argument

    def _operation(self, tensor: Tensor) -> Operation[Tensor] | None:
        reference, operation = self._known.get(id(tensor), (None, None))
        return operation if reference is not None and reference() is tensor else None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        results = [one for one in tree_leaves(found) if isinstance(one, Tensor)]
        if results:
            self._record(getattr(func, "__name__", ""), tree_leaves((args, kwargs or {})), results)
        return found

    def _record(self, own: str, given: list[Any], results: list[Tensor]) -> None:
        known = [
            (one, operation)
            for one in given
            if isinstance(one, Tensor) and (operation := self._operation(one)) is not None
        ]
        if not known:
            return
        first, _ = known[0]
        name = onnx_name(
            own,
            # Of 1 / x, the method of x has x as its first argument.
            divides_constant=given[0] is not first or own in ("__rdiv__", "__rtruediv__"),
            same_size=first.numel() == results[0].numel(),
        )
        argument = first if _is_vector(first) else None
        operation = Operation(name, tuple(one for _, one in known), argument)
        for result in results:
            self._known[id(result)] = (weakref.ref(result), operation)


def _is_vector(tensor: Tensor) -> bool:
    """Return whether each image has one row of numbers: larger tensors would take memory."""
    return all(size == 1 for size in tensor.shape[2:])
