"""Finds the activation at the end of a PyTorch network, in the graph that autograd records."""

import torch
from torch import Tensor, nn

from convscope.exporter.errors import NetworkError
from convscope.exporter.outputs.detection import Ending

__all__ = ["check_returns_logits", "find_ending"]

# Operations that change the shape or type of the outputs, but not their values.
_TRANSPARENT = (
    *("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Clone", "Alias", "ToCopy"),
    *("Transpose", "Permute", "T"),
)
_LAYERS = ("Addmm", "Mm", "Bmm", "Convolution", "Linear")
# Operations between the last layer and the output that leave it unbounded.
_LINEAR = (
    *("Add", "Sub", "Mean", "Sum", "AvgPool2D", "AdaptiveAvgPool2D", "NativeBatchNorm"),
    *("Relu", "LeakyRelu"),
)
_SIGMOID = ("Reciprocal", "Add", "Exp", "Neg")


def find_ending(network: nn.Module, example: Tensor) -> Ending:
    """Run an example, and return what autograd recorded at the end of the network.

    Args:
        network: The network, in evaluation mode.
        example: An input with its batch, float32 [N, C, ...].
    """
    with torch.enable_grad():
        # A copy, because a network may change its input in place.
        output = network(example.clone().requires_grad_().clone())
    names = _chain(output.grad_fn if isinstance(output, Tensor) else None)
    while names and names[0] in _TRANSPARENT:
        names.pop(0)
    if not names:
        return Ending("unknown")
    first = names[0]
    if first == "Softmax":
        return Ending("softmax", first)
    if first == "LogSoftmax" or names[:2] == ["Log", "Softmax"]:
        return Ending("log-softmax", first)
    if first == "Sigmoid" or _is_written_sigmoid(names):
        return Ending("sigmoid", first)
    return Ending("linear" if _is_linear(names) else "unknown", first)


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


def _is_written_sigmoid(names: list[str]) -> bool:
    """Recognize 1 / (1 + exp(-x)), whose division is recorded as a reciprocal and a product."""
    start = 1 if names[0] in ("Mul", "Div") else 0
    return tuple(names[start : start + len(_SIGMOID)]) == _SIGMOID


def _is_linear(names: list[str]) -> bool:
    rest = [name for name in names if name not in _TRANSPARENT]
    while rest and rest[0] in _LINEAR:
        rest.pop(0)
    return bool(rest) and rest[0] in _LAYERS


def _chain(function: "torch.autograd.graph.Node | None") -> list[str]:
    """Return the operations from the output backward, each followed by its first argument."""
    names: list[str] = []
    while function is not None and len(names) < _MAX_STEPS:
        names.append(function.name().partition("Backward")[0].removeprefix("torch::autograd::"))
        following = (before for before, _ in function.next_functions if before is not None)
        function = next(
            (one for one in following if not one.name().endswith("AccumulateGrad")), None
        )
    return names


_MAX_STEPS = 32
