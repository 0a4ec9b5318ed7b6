"""What a row of the registry says of a network.

No row needs PyTorch or a library of networks before it builds something or is
asked for its input: all of them together are listed at once.
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

# Among chosen feature maps: the last module of each resolution.
STAGES = "*"


@dataclass(frozen=True, slots=True)
class Published:
    """Weights that somebody published.

    Args:
        tensors: The network's state.
        weights: Where they come from.
    """

    tensors: Mapping[str, "Tensor"]
    weights: "Weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One row: a network, what it expects, and what it is known to say.

    Args:
        name: The name that a user types.
        summary: What it is, in a line.
        make: Makes the network, without weights, for a number of classes and of
            input channels.
        expects: What it expects as its input, for a number of channels.
        channels: The numbers of input channels that it can be made for, the
            preferred one first; empty for any.
        feature_maps: The paths of the modules whose outputs are feature maps,
            each as MODULE or MODULE=NAME; STAGES stands for the last module of
            each resolution.
        labels: The classes of its published weights.
        published: Fetches its published weights.
        ignored: The beginnings of the names of published tensors that the
            network doesn't need, such as those of heads for training only.
        classifies: Whether it has classes.
        dataset: The dataset that it is trained on unless another is named.
        learning_rate: The highest one, where no other is asked for.
        augment: Whether altered copies of the images help it.
        own: Whether it is a network of the user's own.
        size: The height and width in pixels that a library records for it, to
            be listed without the library.
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
    own: bool = False
    size: tuple[int, int] | None = None

    def build(self, classes: int, channels: int | None = None) -> "nn.Module":
        """Make the network, without weights; of 0 classes, with as many as its factory chooses."""
        return self.make(classes, channels or self.default_channels)

    def preprocessing(self, channels: int | None = None) -> InputRule:
        """What it expects as its input."""
        return self.expects(channels or self.default_channels)

    @property
    def model_name(self) -> str:
        """Its name, in the letters that a model's may have."""
        return self.name.removeprefix("timm/").replace(".", "_").lower()

    @property
    def default_channels(self) -> int:
        """The number of input channels, where nothing asks for another."""
        return self.channels[0] if self.channels else 1

    def fitting_channels(self, offered: int) -> int:
        """The number of input channels for data that have so many.

        Pictures can be turned grey or coloured; other tensors can't.

        Raises:
            ExporterError: The network can't take them.
        """
        if not self.channels or offered in self.channels:
            return offered
        if set(self.channels) <= {1, 3} and offered in (1, 3):
            return self.default_channels
        takes = " or ".join(map(str, self.channels))
        raise ExporterError(f"{self.name} takes {takes} channels, and the dataset has {offered}")


def deferred(module: str, factory: str) -> Callable[[int, int], "nn.Module"]:
    """A factory of `architectures.networks.MODULE` that is imported when it is called."""

    def make(classes: int, channels: int) -> "nn.Module":
        found = import_module(f"convscope.exporter.architectures.networks.{module}")
        network: nn.Module = getattr(found, factory)(classes, channels)
        return network

    return make
