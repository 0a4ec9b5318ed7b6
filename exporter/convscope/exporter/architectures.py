"""The networks that the exporter knows: one registry, a few lines a row."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import timm
from torch import nn
from torchvision.models import MobileNet_V2_Weights

from convscope.exporter.errors import UnknownNameError
from convscope.exporter.preprocess import ImagePreprocessing
from convscope.exporter.weights import Weights, load_efficientnet_lite0

__all__ = ["ARCHITECTURES", "Architecture", "find_architecture"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """One row: a network, what it expects, and what it is known to say.

    Args:
        name: The name that a user types.
        build: Makes the network, without weights, for a number of classes.
        preprocessing: What it expects of an image.
        feature_maps: The paths of the modules whose outputs are feature maps.
        labels: The classes of its published weights.
        load_weights: Fills the network with its published weights.
        dataset: The dataset that it is trained on unless another is named.
    """

    name: str
    build: Callable[[int], nn.Module]
    preprocessing: Callable[[], ImagePreprocessing]
    feature_maps: tuple[str, ...]
    labels: Callable[[], tuple[str, ...]] = tuple
    load_weights: Callable[[nn.Module], Weights] | None = None
    dataset: str | None = None


def find_architecture(name: str) -> Architecture:
    """Find a row.

    Raises:
        UnknownNameError: There is none of that name; the message lists near ones.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    near = difflib.get_close_matches(name, ARCHITECTURES) or sorted(ARCHITECTURES)
    raise UnknownNameError(f"no architecture {name!r}; did you mean: {', '.join(near)}?")


def _efficientnet_lite0(classes: int) -> nn.Module:
    model: nn.Module = timm.create_model(_LITE0, pretrained=False, num_classes=classes)
    return model


def _timm_preprocessing(name: str) -> Callable[[], ImagePreprocessing]:
    """Read what the published weights expect from timm's own record of them."""

    def read() -> ImagePreprocessing:
        record = timm.get_pretrained_cfg(name)
        _, height, width = record.input_size
        return ImagePreprocessing(
            height=height,
            width=width,
            mean=tuple(record.mean),
            std=tuple(record.std),
            interpolation=record.interpolation,
            shortest_edge=int(height / record.crop_pct),
        )

    return read


def _imagenet_labels() -> tuple[str, ...]:
    return tuple(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])


def _two_convolutions(classes: int) -> nn.Module:
    """The network of the classic lesson: edges first, then parts of digits."""
    layers = {
        "conv1": nn.Sequential(nn.Conv2d(1, 10, 5), nn.ReLU()),  # [N, 10, 24, 24]
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Sequential(nn.Conv2d(10, 20, 5), nn.ReLU()),  # [N, 20, 8, 8]
        "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "dense": nn.Linear(20 * 4 * 4, classes),
    }
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network


def _digit_preprocessing() -> ImagePreprocessing:
    # The mean and the deviation of MNIST's training images.
    return ImagePreprocessing(height=28, width=28, mean=(0.1307,), std=(0.3081,))


_LITE0 = "tf_efficientnet_lite0"

ARCHITECTURES = {
    row.name: row
    for row in (
        Architecture(
            name="efficientnet_lite0",
            build=_efficientnet_lite0,
            preprocessing=_timm_preprocessing(_LITE0),
            feature_maps=tuple(f"blocks.{stage}" for stage in range(7)),
            labels=_imagenet_labels,
            load_weights=load_efficientnet_lite0,
        ),
        Architecture(
            name="digits",
            build=_two_convolutions,
            preprocessing=_digit_preprocessing,
            feature_maps=("conv1", "pool1", "conv2", "pool2"),
            dataset="mnist_sample",
        ),
    )
}
