"""Finds the network that a user names, and the input that a user declares for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from convscope.exporter.architectures.custom import (
    custom_architecture,
    is_custom,
    requires_classes,
)
from convscope.exporter.architectures.registry import Architecture
from convscope.exporter.architectures.rows import find_architecture
from convscope.exporter.errors import NetworkError
from convscope.exporter.preprocessing import ImagePreprocessing, InputRule, TensorInput
from convscope.exporter.preprocessing.conventions import (
    CONVENTIONS,
    Convention,
    ConventionName,
    Interpolation,
)
from convscope.exporter.preprocessing.declared import DeclaredResize, check_size
from convscope.exporter.preprocessing.plausibility import WHITE, check_normalization

__all__ = ["DeclaredInput", "check_published", "resolve"]

_IMAGE_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """The input that a user declares on the command line.

    A network in a file needs its shape. The preprocessing of a built-in network can be
    replaced.

    Args:
        shape: "3x224x224" for images, "1x256" for signals, "3x8x32x32" for clips.
        mean: The value that is subtracted from each channel of an image, such
            as "0.485,0.456,0.406", in units of 0 to 1.
        std: The value by which each channel is then divided.
        resize: How an image is resized; as the convention does by default.
        interpolation: The filter of the resize, likewise.
        preprocess: A convention that replaces the defaults of the others.
    """

    shape: str | None = None
    mean: str | None = None
    std: str | None = None
    resize: DeclaredResize = field(default_factory=DeclaredResize)
    interpolation: Interpolation | None = None
    preprocess: ConventionName | None = None

    @property
    def preprocessing_options(self) -> list[str]:
        """The options of the preprocessing that the user passed."""
        values = {
            "--preprocess": self.preprocess,
            "--mean": self.mean,
            "--std": self.std,
            **self.resize.options,
            "--interpolation": self.interpolation,
        }
        return [option for option, value in values.items() if value is not None]

    def applied_to(self, expects: InputRule, name: str) -> InputRule:
        """Return a built-in network's input with the declared preprocessing.

        Raises:
            ExporterError: The network doesn't take images, or a value is invalid.
        """
        if not self.preprocessing_options:
            return expects
        if not isinstance(expects, ImagePreprocessing):
            raise NetworkError(
                f"{name} takes tensors, which aren't preprocessed; remove "
                f"{' and '.join(self.preprocessing_options)}"
            )
        if self.preprocess is not None:
            return self._images(expects.channels, expects.height, expects.width)
        rule = replace(
            expects,
            mean=_numbers("--mean", self.mean, expects.channels, expects.mean),
            std=_numbers("--std", self.std, expects.channels, expects.std),
            interpolation=self.interpolation or expects.interpolation,
            resize=self.resize.rule(expects.height, expects.width, expects.channels)
            or expects.resize,
        )
        return _checked(rule)

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
            if self.preprocessing_options:
                raise NetworkError(
                    f"--input {self.shape} is a {'signal' if len(sizes) == 2 else 'clip'}, which "
                    f"isn't preprocessed; remove {' and '.join(self.preprocessing_options)}, or "
                    "declare an image as CxHxW, such as --input 3x224x224"
                )
            return TensorInput(sizes)
        channels, height, width = sizes
        if channels not in _IMAGE_CHANNELS:
            raise NetworkError(f"--input {self.shape} has {channels} channels{_swapped(sizes)}")
        return self._images(channels, height, width)

    def _images(self, channels: int, height: int, width: int) -> ImagePreprocessing:
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
            interpolation=self.interpolation or convention.interpolation,
            resize=self.resize.rule(height, width, channels) or convention.resize(height, width),
        )
        return _checked(rule)


def _checked(rule: ImagePreprocessing) -> ImagePreprocessing:
    check_normalization(1 / WHITE, rule.mean, rule.std, has_scale=False)
    check_size(rule.resize_rule, rule.height, rule.width)
    return rule


def _swapped(sizes: tuple[int, ...]) -> str:
    """Return the fix for an image with too many channels."""
    fix = "; images have 1 or 3, and --input is CxHxW"
    height, width, channels = sizes
    return f"{fix}: {channels}x{height}x{width}" if channels in _IMAGE_CHANNELS else fix


def resolve(name: str, declared: DeclaredInput, *, has_labels: bool = True) -> Architecture:
    """Find a network in the registry, in timm, or in a user's file.

    Args:
        name: The name that the user typed.
        declared: The declared input.
        has_labels: Whether labels are given, so that one error can name every
            missing option.

    Raises:
        ExporterError: There is no such network, or its input isn't declared.
    """
    if not is_custom(name):
        row = find_architecture(name)
        if not declared.preprocessing_options:
            return row
        declared.applied_to(row.preprocessing(), row.name)  # an error at once
        return replace(
            row, expects=lambda channels: declared.applied_to(row.expects(channels), row.name)
        )
    if declared.shape is None and not has_labels and requires_classes(name):
        raise NetworkError(
            f"{name} needs two more options: its input, such as --input 3x224x224 for images, "
            "1x256 for signals or 3x8x32x32 for clips; and --labels FILE, because it requires "
            "num_classes"
        )
    return custom_architecture(name, declared.rule(name))


def check_published(row: Architecture, declared: DeclaredInput, remedy: str) -> None:
    """Check that no preprocessing is declared for a built-in network's published weights.

    They were trained with the network's own preprocessing.

    Raises:
        NetworkError: Some is.
    """
    options = declared.preprocessing_options
    if options and not row.is_custom and row.published is not None:
        raise NetworkError(
            f"the published weights of {row.name} need its own preprocessing; remove "
            f"{' and '.join(options)}, or {remedy}"
        )


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
        raise NetworkError(
            f"{option} {text!r} isn't a list of numbers with commas between them, such as 0.5,0.5"
        ) from error
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise NetworkError(
            f"{option} has {len(values)} numbers for {channels} channels; pass one, or one per "
            "channel"
        )
    return values
