"""Loads published weights, or those of a file, into a network of the registry."""

from pathlib import Path

from torch import nn

from convscope.exporter.architectures.registry import Architecture
from convscope.exporter.architectures.weights import Weights, fill, read_tensors
from convscope.exporter.errors import WeightsError

__all__ = ["load_file", "load_published"]


def load_published(
    row: Architecture, network: nn.Module, classes: int, *, new_head: bool = False
) -> Weights:
    """Load a network's published weights into it.

    Raises:
        ExporterError: The network has no published weights, or they can't be
            downloaded or don't fit.
    """
    if row.published is None:
        raise WeightsError(
            f"{row.name} has no published weights; pass them with --weights FILE, train it with: "
            f"convscope-exporter train {row.name}, or pass --random-weights to try out serving"
        )
    published = row.published()
    fill(
        network,
        published.tensors,
        published.weights.source,
        classes=classes,
        ignored=row.ignored,
        new_head=new_head,
    )
    return published.weights


def load_file(
    row: Architecture, network: nn.Module, path: Path, classes: int, *, new_head: bool = False
) -> Weights:
    """Load a file's weights into a network.

    Raises:
        WeightsError: The file can't be read, or its weights don't fit.
    """
    tensors = read_tensors(path)
    fill(network, tensors, path.name, classes=classes, ignored=row.ignored, new_head=new_head)
    return Weights(path.name, "", "")
