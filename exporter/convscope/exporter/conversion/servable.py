"""Wraps a network for its bundle: checks its classes and chooses its feature maps."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from convscope.exporter.architectures.registry import STAGES
from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.conversion.reference import find_semantics
from convscope.exporter.conversion.source import Source
from convscope.exporter.conversion.stages import find_stages
from convscope.exporter.errors import ExporterError, NetworkError, reason
from convscope.exporter.outputs.semantics import class_count as number_of_classes
from convscope.exporter.preprocessing import ImagePreprocessing, InputRule

__all__ = ["class_count", "servable"]

_BATCH = 2  # a batch of 1 would hide a squeezed output
_MEMORY_TOLERANCE = 1e-3
RESERVED_NAMES = ("logits", "probabilities", "images", "signal", "clip")


def servable(source: Source) -> ServableNetwork:
    """Wrap a network as its bundle runs it.

    Raises:
        ExporterError: Two feature maps have the same name, a module doesn't
            exist, or the network's classes don't match the labels.
    """
    expects = source.preprocessing
    if source.labels:
        _check_labels(class_count(source.network, expects), source)
    return ServableNetwork(
        source.network,
        expects.mean,
        expects.std,
        _named_feature_maps(source, _zeros(expects)),
        classifies=bool(source.labels),
        semantics=find_semantics(source) if source.labels else None,
    ).eval()


@torch.inference_mode()
def class_count(network: nn.Module, expects: InputRule) -> int:
    """Run zeros through a network, and return the number of classes in its output.

    A network with one output per image has two classes.

    Raises:
        NetworkError: The network can't take the input, or doesn't return one
            vector per image.
    """
    planes = torch.cat([_zeros(expects)] * _BATCH)
    try:
        fresh = copy.deepcopy(network).eval()
        output = network.eval()(planes)
    except Exception as error:  # the user's code may raise anything
        raise NetworkError(
            f"the network can't take {list(planes.shape)}: {type(error).__name__}: {reason(error)}"
        ) from error
    _check_output(output)
    _check_single(network, planes[:1], output)
    _check_memory(fresh, planes)
    return number_of_classes(output.numel() // _BATCH)


def _check_output(output: object) -> None:
    vector = "a classifier returns one number per class, [N, classes], or one for two classes, [N]"
    if not isinstance(output, Tensor):
        raise NetworkError(
            f"the network returns a {type(output).__name__} instead of a tensor; {vector}, so wrap "
            "the network in a module that returns only the scores"
        )
    if output.ndim not in (1, 2) or len(output) != _BATCH:
        raise NetworkError(
            f"the network returns {list(output.shape)} for {_BATCH} images; {vector}, so flatten "
            "or average the other axes, such as with output.flatten(1)"
        )
    if not output.is_floating_point():
        raise NetworkError(
            f"the network returns {str(output.dtype).removeprefix('torch.')} instead of scores; "
            f"{vector}, so leave out the argmax or threshold at its end"
        )


def _check_single(network: nn.Module, planes: Tensor, several: Tensor) -> None:
    """Reject a network that drops the batch of a single image, or can't take one."""
    try:
        shape = network(planes).shape
    except Exception as error:  # the user's code may raise anything
        raise NetworkError(
            f"the network can't take a single image: {type(error).__name__}: {reason(error)}"
        ) from error
    if shape != several[:1].shape:
        raise NetworkError(
            f"the network returns {list(shape)} for one image and {list(several.shape)} for "
            f"{_BATCH}; name the axis in squeeze, such as squeeze(1), and keep the first"
        )


def _check_memory(fresh: nn.Module, planes: Tensor) -> None:
    """Reject a network whose first input decides its later results.

    Args:
        fresh: The network before its first run.
        planes: Zeros as it takes them.
    """
    noise = torch.randn(planes.shape, generator=torch.Generator().manual_seed(0))
    first, second, later = (copy.deepcopy(fresh) for _ in range(3))
    later(planes)
    expected = first(noise)
    if _equal(later(noise), expected) or not _equal(second(noise), expected):
        return  # without memory, or random, which another gate explains
    raise NetworkError(
        "the network returns another result for the same image after its first input: it stores "
        "something in forward; compute everything from the input of each call"
    )


def _equal(ours: Tensor, expected: Tensor) -> bool:
    return torch.allclose(ours, expected, rtol=0, atol=_MEMORY_TOLERANCE, equal_nan=True)


def _check_labels(found: int, source: Source) -> None:
    labels = len(source.labels)
    if found != labels:
        raise NetworkError(
            f"the network has {found} classes, but there are {labels} labels; "
            f"pass {found} labels with --labels FILE"
        )


def _zeros(expects: InputRule) -> Tensor:
    """Return zeros as the network itself takes them, float32 [1, C, ...]."""
    if isinstance(expects, ImagePreprocessing):
        return torch.zeros(1, expects.channels, expects.height, expects.width)
    return torch.zeros(1, *expects.shape)


def _named_feature_maps(source: Source, planes: Tensor) -> dict[str, str]:
    """Return the module path of each feature map by the feature map's name."""
    named: dict[str, str] = {}
    for choice in _chosen_feature_maps(source, planes):
        path, _, name = choice.partition("=")
        name = name or path
        if name in named or name in RESERVED_NAMES:
            raise ExporterError(
                f"a feature map can't be named {name!r}: the name is taken; "
                f"choose another with --feature-map {path}=NAME"
            )
        named[name] = path
    return named


def _chosen_feature_maps(source: Source, planes: Tensor) -> Iterator[str]:
    for choice in source.feature_maps:
        if choice == STAGES:
            yield from find_stages(source.network, planes)
        else:
            yield choice
