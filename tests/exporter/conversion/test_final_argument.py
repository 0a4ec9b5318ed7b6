"""The heat of a network that ends in an activation is that of the activation's argument."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.small_networks import SIDE, Apply, SmallNetwork, network_source
from torch import Tensor, nn

from convscope.exporter.conversion.convert import convert
from convscope.exporter.conversion.graph import ServableNetwork
from convscope.exporter.conversion.servable import servable
from convscope.exporter.graphs.sessions import feed_session, open_graph

IMAGES = np.random.default_rng(2).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)


def shifted_softmax(values: Tensor) -> Tensor:
    powers = (values - values.max(dim=1, keepdim=True).values).exp()
    return powers / powers.sum(1, keepdim=True)


ENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": nn.Softmax(dim=1),
    "softmax as a function": lambda values: torch.softmax(values, 1),
    "softmax of planes": lambda values: values[:, :, None, None].softmax(1).flatten(1),
    "shifted softmax": shifted_softmax,
    "limited softmax": lambda values: values.softmax(1).clamp(1e-7, 1),
    "softmax of a temperature": lambda values: (values / 1).softmax(1),
    "sigmoid": nn.Sigmoid(),
    "written sigmoid": lambda values: 1 / (1 + torch.exp(-values)),
    "sigmoid as a quotient": lambda values: values.exp() / (1 + values.exp()),
    "log-softmax": nn.LogSoftmax(dim=1),
    "log of softmax": lambda values: values.softmax(1).log(),
    "minus logsumexp": lambda values: values - values.logsumexp(1, keepdim=True),
}
BINARY: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "squeezed sigmoid": lambda values: values.sigmoid().squeeze(1),
    "sigmoid of a vector": lambda values: values.squeeze(1).sigmoid(),
    "first column": lambda values: values.sigmoid()[:, 0],
}
UNKNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "overwritten": lambda values: values.sigmoid_(),
    "mean of softmaxes": lambda values: (values.softmax(1) + (values / 2).softmax(1)) / 2,
    "infinite": lambda values: (values + torch.tensor([0, 0, -torch.inf])).softmax(1),
}


def wrapped(outputs: int, end: nn.Module | Callable[[Tensor], Tensor]) -> ServableNetwork:
    ending = end if isinstance(end, nn.Module) else Apply(end)
    return servable(network_source(SmallNetwork(outputs, ending), max(outputs, 2)))


def logits_of(network: ServableNetwork) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = network(torch.from_numpy(IMAGES))[0]
    return logits


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_logits_are_the_argument_of_the_activation(end: Callable[[Tensor], Tensor]) -> None:
    network = wrapped(3, end)
    assert network.uses_argument
    expected = logits_of(wrapped(3, nn.Identity()))
    torch.testing.assert_close(logits_of(network), expected)


def test_bfloat16_is_compared_too() -> None:
    assert not wrapped(3, lambda values: values.bfloat16().softmax(1)).uses_argument


@pytest.mark.parametrize("end", BINARY.values(), ids=BINARY)
def test_a_binary_classifier_has_the_logits_of_both_classes(
    end: Callable[[Tensor], Tensor],
) -> None:
    network = wrapped(1, end)
    assert network.uses_argument
    torch.testing.assert_close(logits_of(network), logits_of(wrapped(1, nn.Identity())))


@pytest.mark.parametrize("end", UNKNOWN.values(), ids=UNKNOWN)
def test_an_argument_that_is_not_recognized_leaves_the_logits_of_the_probabilities(
    end: Callable[[Tensor], Tensor],
) -> None:
    network = wrapped(3, end)
    assert not network.uses_argument
    with torch.inference_mode():
        logits, probabilities, *_ = network(torch.from_numpy(IMAGES))
    assert network.semantics is not None
    again = logits.sigmoid() if network.semantics.activation == "sigmoid" else logits.softmax(1)
    torch.testing.assert_close(again, probabilities, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("outputs", "end"),
    [(3, ENDS["softmax"]), (3, ENDS["written sigmoid"]), (1, BINARY["squeezed sigmoid"])],
    ids=["softmax", "written sigmoid", "binary"],
)
def test_a_confident_class_has_heat(
    tmp_path: Path, outputs: int, end: Callable[[Tensor], Tensor]
) -> None:
    network = SmallNetwork(outputs, end if isinstance(end, nn.Module) else Apply(end))
    with torch.no_grad():
        network.dense.weight *= 20
    conversion = convert(network_source(network, max(outputs, 2)), tmp_path)
    assert "from PyTorch's gradient" in conversion.explanation
    assert "warning" not in conversion.explanation
    session = open_graph((conversion.directory / "model.onnx").read_bytes())
    feed = {"images": IMAGES, "classes": np.array([[-1]] * len(IMAGES))}
    heat, chosen, logits, probabilities = feed_session(
        session, feed, ["heat", "heat_classes", "logits", "probabilities"]
    )
    assert probabilities.max() == 1
    # The head is linear, so that the heat and the bias of the class are its logit.
    bias = network.dense.bias.detach().numpy() * (np.array([-0.5, 0.5]) if outputs == 1 else 1)
    expected = heat.sum(axis=(1, 2, 3)) + bias[chosen[:, 0]]
    found = np.take_along_axis(logits, chosen, axis=1)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("in_place", [False, True])
def test_the_heat_of_modules_is_compared_with_pytorch(tmp_path: Path, in_place: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(in_place),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
        nn.Softmax(dim=1),
    )
    source = replace(network_source(network), feature_maps=())
    line = convert(source, tmp_path).explanation
    assert line.startswith("heat      8 × 8")
    assert line.endswith("from PyTorch's gradient")


def test_heat_that_vanishes_is_reported(tmp_path: Path) -> None:
    network = SmallNetwork(3, Apply(UNKNOWN["mean of softmaxes"]))
    line = convert(network_source(network), tmp_path).explanation
    assert "warning: the heat of confident classes vanishes, because" in line
