"""Chooses the output with the classes of a network that returns several."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass

from torch import Tensor, nn

from convscope.exporter.conversion.trial_run import TRIAL_BATCH, run_zeros
from convscope.exporter.errors import NetworkError, UnknownNameError
from convscope.exporter.preprocessing import InputRule

__all__ = ["choose_output"]


@dataclass(frozen=True, slots=True)
class _Selector:
    """A forward hook that replaces all outputs of a network with one of them.

    A hook, unlike a module around the network, leaves the paths of the modules and
    the names of the weights unchanged.
    """

    name: str

    def __call__(self, module: nn.Module, inputs: object, output: object) -> object:
        return _by_name(output)[self.name]


def choose_output(network: nn.Module, choice: str | None, expects: InputRule) -> str | None:
    """Let a network that returns several outputs return only one of them.

    Args:
        network: The network, which is changed in place.
        choice: The name or the position of the output; None for the only one with scores.
        expects: The network's input.

    Returns:
        The name of the chosen output; None if the network returns one tensor, or
        nothing that can be chosen.

    Raises:
        NetworkError: The network can't take its input, or it isn't clear which output
            has the classes.
        UnknownNameError: The network has no such output.
    """
    output = run_zeros(network, expects)
    tensors = {name: one for name, one in _by_name(output).items() if isinstance(one, Tensor)}
    if choice is None and not tensors:
        return None
    name = _find(choice, tensors)
    network.register_forward_hook(_Selector(name))
    return name


def _find(choice: str | None, tensors: Mapping[str, Tensor]) -> str:
    if not tensors:
        raise UnknownNameError("the network doesn't return several tensors; remove --output")
    available = f"available: {', '.join(f'{name} {_shape(t)}' for name, t in tensors.items())}"
    if choice is None:
        scores = [name for name, tensor in tensors.items() if _may_be_scores(tensor)]
        if len(scores) == 1:
            return scores[0]
        raise NetworkError(
            f"the network returns several outputs; choose the one with the classes with "
            f"--output NAME or its position; {available}"
        )
    if choice in tensors:
        return choice
    names = list(tensors)
    if choice.isdecimal() and int(choice) < len(names):
        return names[int(choice)]
    raise UnknownNameError(f"the network has no output {choice!r}; {available}")


def _by_name(output: object) -> dict[str, object]:
    """Return the parts of a tuple, list, mapping or dataclass by name or position."""
    if isinstance(output, Mapping):  # before the dataclasses: some are both
        return {str(name): one for name, one in output.items()}
    if is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, tuple | list):
        names = getattr(output, "_fields", map(str, range(len(output))))
        return dict(zip(names, output, strict=True))
    return {}


def _may_be_scores(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim in (1, 2) and len(tensor) == TRIAL_BATCH


def _shape(tensor: Tensor) -> str:
    """Format a shape, with N for the batch."""
    is_batched = tensor.ndim > 0 and len(tensor) == TRIAL_BATCH
    sizes = ["N", *tensor.shape[1:]] if is_batched else list(tensor.shape)
    return f"[{', '.join(map(str, sizes))}]"
