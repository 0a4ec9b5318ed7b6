"""Wraps a network for its bundle: checks its classes and chooses its feature maps."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.exporter.architectures.registry import STAGES
from convscope.exporter.conversion.classifier_check import class_count
from convscope.exporter.conversion.graph import ServableNetwork, find_module
from convscope.exporter.conversion.reference import Reference, find_semantics
from convscope.exporter.conversion.source import Source
from convscope.exporter.conversion.stages import find_stages
from convscope.exporter.conversion.trial_run import run_once, zeros
from convscope.exporter.errors import ExporterError, NetworkError
from convscope.exporter.outputs.semantics import BINARY_NOTE

__all__ = ["check_declared", "servable"]

RESERVED_NAMES = (
    *("logits", "probabilities", "images", "signal", "clip"),
    *("classes", "heat", "heat_classes"),
)


def servable(
    source: Source,
    reference: Reference | None = None,
    feature_maps: Mapping[str, str] | None = None,
) -> ServableNetwork:
    """Wrap a network as its bundle runs it.

    Args:
        source: The network and its description.
        reference: The results of the same network, if the caller needs them too.
        feature_maps: What check_declared has returned for it, if it was called already.

    Raises:
        ExporterError: Two feature maps have the same name, a module doesn't
            exist, or the network's classes don't match the labels.
    """
    expects = source.preprocessing
    named = check_declared(source) if feature_maps is None else feature_maps
    reference = reference or Reference(source)
    network = ServableNetwork(
        source.network,
        expects.mean,
        expects.std,
        named,
        classifies=bool(source.labels),
        semantics=find_semantics(reference) if source.labels else None,
    ).eval()
    network.uses_argument = _has_argument(network, reference)
    return network


def check_declared(source: Source) -> dict[str, str]:
    """Check what the user declares about a network, before the slow steps.

    Returns:
        The module path of each feature map by the feature map's name.

    Raises:
        ExporterError: The labels don't match the network's classes, two feature maps have the same
            name, or a module doesn't exist.
    """
    expects = source.preprocessing
    if source.labels:
        _check_labels(class_count(source.network, expects), source)
    named = _named_feature_maps(source, zeros(expects))
    for path in named.values():
        find_module(source.network, path)
    return named


@torch.inference_mode()
def _has_argument(network: ServableNetwork, reference: Reference) -> bool:
    """Report whether the argument of a network's final activation can be its logits."""
    semantics = network.semantics
    if semantics is None or semantics.form == "logits":
        return False
    network.uses_argument = True
    output, argument = network.run(torch.from_numpy(reference.inputs))
    if argument is None or argument.numel() != output.numel():
        return False
    values, supposed = (_as_array(one) for one in (output, argument))
    return semantics.has_argument(supposed, values)


def _as_array(tensor: Tensor) -> NDArray[np.floating]:
    """Return [n, outputs]; NumPy has no bfloat16."""
    rows = tensor.reshape(len(tensor), -1)
    return np.asarray(rows.float() if rows.dtype == torch.bfloat16 else rows)


def _check_labels(found: int, source: Source) -> None:
    labels = len(source.labels)
    if found != labels:
        raise NetworkError(
            f"the network has {found:,} classes, but there are {labels:,} labels; "
            f"pass {found} labels with --labels FILE{_binary_note(source)}"
        )


def _binary_note(source: Source) -> str:
    output = run_once(source.network, zeros(source.preprocessing))
    return BINARY_NOTE if isinstance(output, Tensor) and output.numel() == 1 else ""


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
