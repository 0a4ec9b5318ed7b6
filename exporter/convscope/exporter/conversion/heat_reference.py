"""The heat that PyTorch's autograd computes, as the reference of the exported graph's."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convscope.exporter.conversion.graph import ServableNetwork

__all__ = ["SAME_TENSOR", "torch_heat"]

# Of the largest magnitude; tensors of the same module differ by rounding only.
SAME_TENSOR = 1e-3


def torch_heat(
    network: ServableNetwork,
    inputs: NDArray[np.generic],
    tensor: NDArray[np.float32],
    classes: NDArray[np.int64],
    channel_axis: int,
) -> NDArray[np.float32] | None:
    """Return Grad-CAM by the module or function whose output a tensor is; None without one.

    Args:
        network: The network.
        inputs: The inputs, [n, ...].
        tensor: The values of the tensor for them, [n, ...].
        classes: The classes to explain, [n, T].
        channel_axis: The axis of the tensor's channels.

    Returns:
        The signed heat, float32 [n, T, positions...].
    """
    watch = _Watch(torch.from_numpy(tensor))
    handles = [
        module.register_forward_hook(watch)
        for path, module in network.network.named_modules()
        if path
    ]
    learned = [one for one in network.parameters() if one.requires_grad]
    try:
        # Only what follows the module is recorded for the gradient.
        for one in learned:
            one.requires_grad_(False)
        with torch.enable_grad(), watch.functions():
            logits = network(torch.from_numpy(inputs))[0]
        if not watch.leaves or not logits.requires_grad:
            return None
        return _grad_cam(logits, watch.leaves, torch.from_numpy(classes), channel_axis)
    finally:
        for handle in handles:
            handle.remove()
        for one in learned:
            one.requires_grad_(True)


class _Watch:
    """Starts the gradient at the function or module that returns a tensor.

    What follows gets the tensor's own values: the function's differ by rounding, which the
    sum over the channels can enlarge.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._tolerance = SAME_TENSOR * float(tensor.abs().max())
        self._replacements: list[Tensor] = []
        self.leaves: list[Tensor] = []  # one for each copy of the tensor

    def __call__(self, module: nn.Module, inputs: object, output: object) -> Tensor | None:
        """Replace the output of a module that computes in place.

        A function copies it, so that what records functions doesn't lose track of it.
        """
        if any(output is one for one in self._replacements):
            return None
        return output.clone() if isinstance(output, Tensor) and self._is_tensor(output) else None

    def functions(self) -> "_Functions":
        """Return the mode in which functions are watched, too."""
        return _Functions(self)

    def replacement(self, output: object) -> Tensor | None:
        """Return what follows gets instead of an output; None if that isn't the tensor."""
        if not isinstance(output, Tensor) or not self._is_tensor(output):
            return None
        with torch._C.DisableTorchFunction():  # these functions aren't the network's
            self.leaves.append(self._tensor.clone().requires_grad_())
            # An activation in place may overwrite the copy.
            self._replacements.append(self.leaves[-1].clone())
            return self._replacements[-1]

    def _is_tensor(self, output: Tensor) -> bool:
        with torch._C.DisableTorchFunction():
            return (
                output.shape == self._tensor.shape
                and float((output.detach() - self._tensor).abs().max()) <= self._tolerance
            )


class _Functions(TorchFunctionMode):
    """Watches the functions that a network applies: not every activation is a module.

    Args:
        watch: The hook.
    """

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if any(found is one for one in args):
            return found  # computed in place, which the caller may rely on
        replacement = self._watch.replacement(found)
        return found if replacement is None else replacement


def _grad_cam(
    logits: Tensor, leaves: list[Tensor], classes: Tensor, channel_axis: int
) -> NDArray[np.float32] | None:
    tensor = leaves[0].detach()
    axes = [axis for axis in range(1, tensor.ndim) if axis != channel_axis]
    maps = []
    for target in classes.unbind(dim=1):
        chosen = logits.gather(1, target[:, None]).sum()
        by_leaf = torch.autograd.grad(chosen, leaves, retain_graph=True, allow_unused=True)
        gradients = [one for one in by_leaf if one is not None]
        if not gradients:
            return None
        weights = torch.stack(gradients).sum(dim=0).mean(axes, keepdim=True)
        maps.append((weights * tensor).sum(channel_axis))
    return np.asarray(torch.stack(maps, dim=1).numpy())
