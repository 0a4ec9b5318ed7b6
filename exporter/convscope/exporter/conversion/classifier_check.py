"""Checks that a network returns the scores of a classifier, and the same ones at each call."""

import torch
from torch import Tensor, nn

from convscope.exporter.conversion.trial_run import TRIAL_BATCH, run_once, zeros
from convscope.exporter.errors import NetworkError
from convscope.exporter.outputs.semantics import class_count as number_of_classes
from convscope.exporter.preprocessing import InputRule

__all__ = ["class_count"]

_MEMORY_TOLERANCE = 1e-3
_VECTOR = "a classifier returns one number per class, [N, classes], or one for two classes, [N]"


def class_count(network: nn.Module, expects: InputRule) -> int:
    """Run zeros through a network, and return the number of classes in its output.

    A network with one output per image has two classes.

    Raises:
        NetworkError: The network can't take the input, doesn't return one vector
            per image, or remembers its first input.
    """
    planes = torch.cat([zeros(expects)] * TRIAL_BATCH)
    output = _scores(run_once(network, planes))
    _check_single(run_once(network, planes[:1]), output)
    _check_memory(network, planes)
    return number_of_classes(output.numel() // TRIAL_BATCH)


def _scores(output: object) -> Tensor:
    """Return the output if it consists of the scores of TRIAL_BATCH images."""
    if not isinstance(output, Tensor):
        raise NetworkError(
            f"the network returns a {type(output).__name__} instead of a tensor; {_VECTOR}, so "
            "wrap the network in a module that returns only the scores"
        )
    if output.ndim not in (1, 2) or len(output) != TRIAL_BATCH:
        raise NetworkError(
            f"the network returns {list(output.shape)} for {TRIAL_BATCH} images; {_VECTOR}, so "
            "flatten or average the other axes, such as with output.flatten(1)"
        )
    if not output.is_floating_point():
        raise NetworkError(
            f"the network returns {str(output.dtype).removeprefix('torch.')} instead of scores; "
            f"{_VECTOR}, so leave out the argmax or threshold at its end"
        )
    return output


def _check_single(single: object, several: Tensor) -> None:
    """Reject a network that drops the batch of a single image."""
    found = list(single.shape) if isinstance(single, Tensor) else type(single).__name__
    if found != list(several[:1].shape):
        raise NetworkError(
            f"the network returns {found} for one image and {list(several.shape)} for "
            f"{TRIAL_BATCH}; name the axis in squeeze, such as squeeze(1), and keep the first"
        )


def _check_memory(network: nn.Module, planes: Tensor) -> None:
    """Reject a network whose first input decides its later results.

    Args:
        network: The network, which has not run yet.
        planes: Zeros as it takes them.
    """
    noise = torch.randn(planes.shape, generator=torch.Generator().manual_seed(0))
    expected = run_once(network, noise)
    if _equal(run_once(network, planes, noise), expected):
        return
    if not _equal(run_once(network, noise), expected):
        return  # it is random, which another gate explains
    raise NetworkError(
        "the network returns another result for the same image after its first input: it stores "
        "something in forward; compute everything from the input of each call"
    )


def _equal(ours: object, expected: object) -> bool:
    return (
        isinstance(ours, Tensor)
        and isinstance(expected, Tensor)
        and ours.shape == expected.shape
        and torch.allclose(ours, expected, rtol=0, atol=_MEMORY_TOLERANCE, equal_nan=True)
    )
