"""From what a user types to a network, its input, its labels and its weights."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from convscope.bundle.labels import read_labels as read_label_file
from convscope.exporter.architectures import Architecture, find_architecture
from convscope.exporter.architectures.custom import (
    asks_for_classes,
    custom_architecture,
    is_custom,
)
from convscope.exporter.datasets.registry import LABELS
from convscope.exporter.errors import ExporterError, NetworkError, WeightsError
from convscope.exporter.preprocess import ImagePreprocessing, InputRule, TensorInput
from convscope.exporter.weights import Weights, fill, read_tensors

__all__ = [
    "DeclaredInput",
    "load_file",
    "load_published",
    "read_labels",
    "resolve",
]


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """The input of a network that no registry knows, as a user types it.

    Args:
        shape: "3x224x224" of images, "1x256" of signals, "3x8x32x32" of clips.
        mean: What is subtracted from each channel of an image, such as
            "0.485,0.456,0.406", in units of 0 to 1.
        std: What each channel is divided by then.
        shortest_edge: The length in pixels that an image's shorter edge is
            brought to before the centre is cropped; the input's own by default.
    """

    shape: str | None = None
    mean: str | None = None
    std: str | None = None
    shortest_edge: int | None = None

    def rule(self, name: str) -> InputRule:
        """The declared input.

        Raises:
            NetworkError: It isn't declared, or can't be.
        """
        if self.shape is None:
            raise NetworkError(
                f"the input of {name} isn't known; declare it, such as --input 3x224x224 for "
                "images, 1x256 for signals, 3x8x32x32 for clips"
            )
        sizes = tuple(int(part) if part.isdecimal() else 0 for part in self.shape.split("x"))
        if len(sizes) not in (2, 3, 4) or min(sizes) < 1:
            raise NetworkError(f"--input {self.shape!r} isn't like 3x224x224, 1x256 or 3x8x32x32")
        if len(sizes) != 3:
            return TensorInput(sizes)
        channels, height, width = sizes
        return ImagePreprocessing(
            height=height,
            width=width,
            mean=_numbers("--mean", self.mean, channels, 0.0),
            std=_numbers("--std", self.std, channels, 1.0),
            shortest_edge=self.shortest_edge or (height if height == width else None),
        )


def resolve(name: str, declared: DeclaredInput, *, has_labels: bool = True) -> Architecture:
    """Find a network in the registry, in timm, or in a file of the user's.

    Args:
        name: What the user typed.
        declared: The input of a network of the user's own.
        has_labels: Whether the classes are named, for an error that says
            everything that is missing.

    Raises:
        ExporterError: There is none, or its input isn't declared.
    """
    if not is_custom(name):
        return find_architecture(name)
    if declared.shape is None and not has_labels and asks_for_classes(name):
        raise NetworkError(
            f"{name} needs two more options: its input, such as --input 3x224x224 for images, "
            "1x256 for signals or 3x8x32x32 for clips; and --labels FILE, as it asks for "
            "num_classes"
        )
    return custom_architecture(name, declared.rule(name))


def read_labels(source: str) -> tuple[str, ...]:
    """Read labels: a dataset's by its name, or a file's: JSON, or one a line.

    Raises:
        ExporterError: There is no such file or dataset.
        InvalidValueError: The file can't be read as labels.
    """
    if source in LABELS:
        return LABELS[source]
    path = Path(source)
    if not path.is_file():
        raise ExporterError(
            f"{source!r} is no text file of labels, and no dataset; there are: {', '.join(LABELS)}"
        )
    return read_label_file(path)


def load_published(
    row: Architecture, network: nn.Module, classes: int, *, new_head: bool = False
) -> Weights:
    """Fill a network with its published weights.

    Raises:
        ExporterError: There are none, they can't be fetched or don't fit.
    """
    if row.published is None:
        raise WeightsError(
            f"{row.name} has no published weights; train it with: "
            f"convscope-exporter train {row.name}"
        )
    published = row.published()
    source = published.weights.source
    fill(
        network,
        published.tensors,
        source,
        classes=classes,
        ignored=row.ignored,
        new_head=new_head,
    )
    return published.weights


def load_file(
    row: Architecture, network: nn.Module, path: Path, classes: int, *, new_head: bool = False
) -> Weights:
    """Fill a network with a file's weights.

    Raises:
        WeightsError: It can't be read, or doesn't fit.
    """
    tensors = read_tensors(path)
    fill(network, tensors, path.name, classes=classes, ignored=row.ignored, new_head=new_head)
    return Weights(path.name, "", "")


def _numbers(option: str, text: str | None, channels: int, default: float) -> tuple[float, ...]:
    if text is None:
        return (default,) * channels
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise NetworkError(f"{option} {text!r} isn't numbers with commas between") from error
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise NetworkError(f"{option} has {len(values)} numbers for {channels} channels")
    return values
