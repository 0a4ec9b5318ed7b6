"""The input of a conversion: a network with everything that its bundle needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from convscope.exporter.architectures.weights import Weights
from convscope.exporter.conversion.golden import GoldenInput
from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.datasets import Split
from convscope.exporter.outputs.semantics import ActivationChoice
from convscope.exporter.preprocessing import InputRule

__all__ = ["GoldenChoice", "Source"]

GoldenChoice = Callable[[ServableNetwork], Sequence[GoldenInput]]
"""Chooses golden inputs by what the network returns for them."""


@dataclass(frozen=True, slots=True)
class Source:
    """A network with everything that its bundle needs.

    Args:
        model: The bundle's model name.
        version: The bundle's version.
        architecture: The network's name in the registry.
        network: The network, with its weights.
        preprocessing: The input that the network expects.
        labels: The name of each class; empty for a bank of filters.
        feature_maps: The paths of the modules whose outputs are feature maps,
            each as MODULE or MODULE=NAME; STAGES stands for the last module of
            each resolution.
        weights: The origin of the weights.
        golden: The golden inputs, or what chooses them; images are encoded.
        activation: What the network's output contains; see `outputs.detection`.
        allow_nonfinite: Whether to publish a network that returns NaN or infinity
            for some images.
        test: The name and the samples of the split on which the accuracy is
            measured.
        untrained: The names of random parameters that the user didn't ask for;
            such a network passes the gates, but isn't published.
        explanations: Whether the graph explains its classes; None if it can.
    """

    model: str
    version: int
    architecture: str
    network: nn.Module
    preprocessing: InputRule
    labels: Sequence[str]
    feature_maps: Sequence[str]
    weights: Weights
    golden: Sequence[GoldenInput] | GoldenChoice
    activation: ActivationChoice = "auto"
    allow_nonfinite: bool = False
    test: tuple[str, Split] | None = None
    untrained: Sequence[str] = ()
    explanations: bool | None = None
