"""The heat that PyTorch's autograd computes, as the reference of the exported graph's."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convscope.exporter.conversion.graph import ServableNetwork

__all__ = ["torch_heat"]

# Of the largest magnitude; tensors of the same module differ by rounding only.
SAME_TENSOR = 1e-3


def torch_heat(
    network: ServableNetwork,
    inputs: NDArray[np.generic],
    tensor: NDArray[np.float32],
    classes: NDArray[np.int64],
    channel_axis: int = 1,
) -> NDArray[np.float32] | None:
    """Return Grad-CAM by the module whose output a tensor is; None if there is no such module.

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
        with torch.enable_grad():
            logits = network(torch.from_numpy(inputs))[0]
        leaf = watch.leaf
        if leaf is None or not logits.requires_grad:
            return None
        return _grad_cam(logits, leaf, torch.from_numpy(classes), channel_axis)
    finally:
        for handle in handles:
            handle.remove()
        for one in learned:
            one.requires_grad_(True)


class _Watch:
    """A hook that starts the gradient at the module that returns a tensor.

    What follows gets the tensor's own values: the module's differ by rounding, which the
    sum over the channels can enlarge.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._tolerance = SAME_TENSOR * float(tensor.abs().max())
        self.leaf: Tensor | None = None

    def __call__(self, module: nn.Module, inputs: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor) or output.shape != self._tensor.shape:
            return None
        if not float((output.detach() - self._tensor).abs().max()) <= self._tolerance:
            return None
        self.leaf = self._tensor.clone().requires_grad_()
        return self.leaf.clone()  # which an activation in place may overwrite


def _grad_cam(
    logits: Tensor, leaf: Tensor, classes: Tensor, channel_axis: int
) -> NDArray[np.float32]:
    axes = [axis for axis in range(1, leaf.ndim) if axis != channel_axis]
    maps = []
    for target in classes.unbind(dim=1):
        chosen = logits.gather(1, target[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, leaf, retain_graph=True)
        weights = gradient.mean(axes, keepdim=True)
        maps.append((weights * leaf.detach()).sum(channel_axis))
    return np.asarray(torch.stack(maps, dim=1).numpy())
