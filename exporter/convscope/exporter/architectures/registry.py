"""The fields of a registry row, which describes one network.

A row imports PyTorch or a network library only when it builds a network or
looks up its input, so that `list` is fast.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing import InputRule

if TYPE_CHECKING:
    from torch import Tensor, nn

    from convscope.exporter.architectures.weights import Weights

__all__ = ["STAGES", "Architecture", "Published", "deferred"]

# In a list of feature maps, this stands for the last module of each resolution.
STAGES = "*"


@dataclass(frozen=True, slots=True)
class Published:
    """Published weights.

    Args:
        tensors: The tensors by name.
        weights: Their origin.
    """

    tensors: Mapping[str, "Tensor"]
    weights: "Weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One row: a network, its input, its labels and its weights.

    Args:
        name: The name that a user types.
        summary: A description in one line.
        make: Builds the network, without weights, for a number of classes and
            a number of input channels.
        expects: Returns the network's input for a number of channels.
        channels: The supported numbers of input channels, the preferred one
            first; empty for any.
        feature_maps: The paths of the modules whose outputs are feature maps,
            each as MODULE or MODULE=NAME; STAGES stands for the last module of
            each resolution.
        labels: The classes of its published weights.
        published: Downloads its published weights.
        ignored: Name prefixes of published tensors that the network doesn't
            need, such as those of heads for training only.
        classifies: Whether it has classes.
        dataset: The default training dataset.
        learning_rate: The default for the highest learning rate.
        augment: Whether training alters the images by default.
        is_custom: Whether the network comes from a user's file.
        has_default_classes: Whether the factory in a user's file may be called without
            the number of classes, although it takes one.
        size: The input's height and width in pixels according to the network's
            library, so that `list` needn't import the library.
    """

    name: str
    summary: str
    make: Callable[[int, int], "nn.Module"]
    expects: Callable[[int], InputRule]
    channels: tuple[int, ...] = (3,)
    feature_maps: tuple[str, ...] = (STAGES,)
    labels: Callable[[], tuple[str, ...]] = tuple
    published: Callable[[], Published] | None = None
    ignored: tuple[str, ...] = ()
    classifies: bool = True
    dataset: str | None = None
    learning_rate: float = 1e-3
    augment: bool = True
    is_custom: bool = False
    has_default_classes: bool = False
    size: tuple[int, int] | None = None

    def build(self, classes: int, channels: int | None = None) -> "nn.Module":
        """Build the network, without weights; 0 classes leaves the number to its factory."""
        return self.make(classes, channels or self.default_channels)

    def preprocessing(self, channels: int | None = None) -> InputRule:
        """Return the network's input."""
        return self.expects(channels or self.default_channels)

    @property
    def model_name(self) -> str:
        """The name, reduced to the characters that a model's name may have."""
        return self.name.removeprefix("timm/").replace(".", "_").lower()

    @property
    def default_channels(self) -> int:
        """The number of input channels unless another is chosen."""
        return self.channels[0] if self.channels else 1

    def fitting_channels(self, offered: int) -> int:
        """Return the number of input channels for a dataset with this many.

        Images can be converted between gray and RGB; other tensors can't.

        Raises:
            ExporterError: The network doesn't support the dataset's channels.
        """
        if not self.channels or offered in self.channels:
            return offered
        if set(self.channels) <= {1, 3} and offered in (1, 3):
            return self.default_channels
        takes = " or ".join(map(str, self.channels))
        raise ExporterError(
            f"{self.name} takes {takes} channels, and the dataset has {offered}; the channels are "
            "the last axis of images, [N, H, W, C], and the second one of signals, [N, C, L], and "
            "of clips, [N, C, T, H, W]"
        )


def deferred(module: str, factory: str) -> Callable[[int, int], "nn.Module"]:
    """Return a factory that imports `architectures.networks.MODULE` when it is called."""

    def make(classes: int, channels: int) -> "nn.Module":
        found = import_module(f"convscope.exporter.architectures.networks.{module}")
        network: nn.Module = getattr(found, factory)(classes, channels)
        return network

    return make
