"""Finds the network that a user names, and the input that a user declares for it."""

from collections.abc import Sequence
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
from convscope.exporter.preprocessing.conventions import CONVENTIONS, Convention, ConventionName
from convscope.exporter.preprocessing.plausibility import WHITE, check_normalization

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
        preprocess: A convention that replaces the defaults of the others.
    """

    shape: str | None = None
    mean: str | None = None
    std: str | None = None
    shortest_edge: int | None = None
    preprocess: ConventionName | None = None

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
        convention = _convention(self.preprocess)
        # A convention's units may be others than 0 to 1.
        unit = WHITE * convention.scale
        mean = [value / unit for value in convention.mean]
        std = [value / unit for value in convention.std]
        rule = ImagePreprocessing(
            height=height,
            width=width,
            mean=_numbers("--mean", self.mean, channels, mean),
            std=_numbers("--std", self.std, channels, std),
            interpolation=convention.interpolation,
            shortest_edge=self.shortest_edge or self._edge(height, width, convention),
        )
        check_normalization(1 / WHITE, rule.mean, rule.std, has_scale=False)
        return rule

    def _edge(self, height: int, width: int, convention: Convention) -> int | None:
        if self.preprocess is None:
            return height if height == width else None
        return convention.shortest_edge(max(height, width))


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


def _convention(name: ConventionName | None) -> Convention:
    convention = CONVENTIONS[name or "unit"]
    if convention.bgr:
        raise NetworkError(
            f"--preprocess {name} is for networks that take blue, green, red, and export passes "
            "red, green, blue; reverse the channels at the start of the network's forward, and "
            "use --mean and --std"
        )
    return convention


def _numbers(
    option: str, text: str | None, channels: int, default: Sequence[float]
) -> tuple[float, ...]:
    if text is None:
        if len(default) not in (1, channels):
            raise NetworkError(f"the convention has {len(default)} channels, the input {channels}")
        return tuple(default) * (channels // len(default))
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise NetworkError(f"{option} {text!r} isn't a list of numbers like 0.5,0.5") from error
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise NetworkError(f"{option} has {len(values)} numbers for {channels} channels")
    return values
