"""Finds the network that a user names, and the input that a user declares for it."""

from dataclasses import dataclass

from convscope.exporter.architectures.custom import (
    custom_architecture,
    is_custom,
    requires_classes,
)
from convscope.exporter.architectures.registry import Architecture
from convscope.exporter.architectures.rows import find_architecture
from convscope.exporter.errors import NetworkError
from convscope.exporter.preprocessing import ImagePreprocessing, InputRule, TensorInput

__all__ = ["DeclaredInput", "resolve"]


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """The input that a user declares on the command line for a network in a file.

    Args:
        shape: "3x224x224" for images, "1x256" for signals, "3x8x32x32" for clips.
        mean: The value that is subtracted from each channel of an image, such
            as "0.485,0.456,0.406", in units of 0 to 1.
        std: The value by which each channel is then divided.
        shortest_edge: The length in pixels to which an image's shorter edge is
            resized before the center crop; the input's own by default.
    """

    shape: str | None = None
    mean: str | None = None
    std: str | None = None
    shortest_edge: int | None = None

    def rule(self, name: str) -> InputRule:
        """Return the declared input of a network.

        Raises:
            NetworkError: No input is declared, or the declaration is invalid.
        """
        if self.shape is None:
            raise NetworkError(
                f"the input of {name} isn't known; declare it, such as --input 3x224x224 for "
                "images, 1x256 for signals, 3x8x32x32 for clips"
            )
        sizes = tuple(int(part) if part.isdecimal() else 0 for part in self.shape.split("x"))
        if len(sizes) not in (2, 3, 4) or min(sizes) < 1:
            raise NetworkError(
                f"--input {self.shape!r} is no shape like 3x224x224, 1x256 or 3x8x32x32"
            )
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
    """Find a network in the registry, in timm, or in a user's file.

    Args:
        name: The name that the user typed.
        declared: The declared input of a network in a file.
        has_labels: Whether labels are given, so that one error can name every
            missing option.

    Raises:
        ExporterError: There is no such network, or its input isn't declared.
    """
    if not is_custom(name):
        return find_architecture(name)
    if declared.shape is None and not has_labels and requires_classes(name):
        raise NetworkError(
            f"{name} needs two more options: its input, such as --input 3x224x224 for images, "
            "1x256 for signals or 3x8x32x32 for clips; and --labels FILE, because it requires "
            "num_classes"
        )
    return custom_architecture(name, declared.rule(name))


def _numbers(option: str, text: str | None, channels: int, default: float) -> tuple[float, ...]:
    if text is None:
        return (default,) * channels
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise NetworkError(f"{option} {text!r} isn't a list of numbers like 0.5,0.5") from error
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise NetworkError(f"{option} has {len(values)} numbers for {channels} channels")
    return values
