"""A published network returns the probabilities of the original, whatever it ends in."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.foreign_models import manifest_of, run_bundle
from support.small_networks import SIDE, Apply, End, SmallNetwork, network_source
from torch import Tensor, nn

from convscope.exporter.conversion.convert import convert
from convscope.exporter.conversion.ending import find_ending
from convscope.exporter.errors import ExporterError
from convscope.exporter.graphs.sessions import feed_session, open_graph
from convscope.exporter.outputs.semantics import ActivationChoice
from convscope.v1 import manifest_pb2 as pb


def original(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    planes = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        output: NDArray[np.float32] = network.eval()((planes - 0.5) / 0.25).numpy()
    return output


def some_images() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("end", "activation"),
    [
        (nn.Softmax(dim=1), pb.ACTIVATION_SOFTMAX),
        (nn.Sigmoid(), pb.ACTIVATION_SIGMOID),
        (End("written softmax"), pb.ACTIVATION_SOFTMAX),
        (End("written sigmoid"), pb.ACTIVATION_SIGMOID),
    ],
    ids=["softmax", "sigmoid", "written softmax", "written sigmoid"],
)
def test_a_network_that_returns_probabilities_gets_no_second_activation(
    tmp_path: Path, end: nn.Module, activation: "pb.Activation.ValueType"
) -> None:
    network = SmallNetwork(3, end)
    directory = convert(network_source(network), tmp_path).directory
    ours = run_bundle(directory, some_images())
    np.testing.assert_allclose(ours["probabilities"], original(network, some_images()), atol=1e-5)
    assert manifest_of(directory).activation == activation
    again = ours["logits"].astype(np.float64)
    powers = np.exp(again)
    computed = (
        powers / powers.sum(1, keepdims=True)
        if activation == pb.ACTIVATION_SOFTMAX
        else 1 / (1 + np.exp(-again))
    )
    np.testing.assert_allclose(computed, ours["probabilities"], atol=1e-5)


def test_log_probabilities_become_probabilities(tmp_path: Path) -> None:
    network = SmallNetwork(3, nn.LogSoftmax(dim=1))
    directory = convert(network_source(network), tmp_path).directory
    ours = run_bundle(directory, some_images())
    expected = original(network, some_images())
    scores = original(SmallNetwork(3), some_images())
    np.testing.assert_allclose(ours["logits"], scores, atol=1e-4)
    np.testing.assert_allclose(ours["probabilities"], np.exp(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("choice", "activation"),
    [("auto", pb.ACTIVATION_SOFTMAX), ("sigmoid", pb.ACTIVATION_SIGMOID)],
)
def test_logits_get_the_chosen_activation(
    tmp_path: Path, choice: ActivationChoice, activation: "pb.Activation.ValueType"
) -> None:
    network = SmallNetwork()
    source = replace(network_source(network), activation=choice)
    directory = convert(source, tmp_path).directory
    logits = torch.from_numpy(original(network, some_images()))
    expected = logits.softmax(1) if choice == "auto" else logits.sigmoid()
    ours = run_bundle(directory, some_images())["probabilities"]
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)
    assert manifest_of(directory).activation == activation


@pytest.mark.parametrize(
    ("end", "is_probability"),
    [
        (None, False),
        (End("squeezed"), False),
        (nn.Sigmoid(), True),
        (End("squeezed sigmoid"), True),
    ],
    ids=["logit", "squeezed logit", "sigmoid", "squeezed sigmoid"],
)
def test_one_output_separates_two_classes(
    tmp_path: Path, end: nn.Module | None, is_probability: bool
) -> None:
    network = SmallNetwork(1, end)
    directory = convert(network_source(network, 2), tmp_path).directory
    output = original(network, some_images()).reshape(-1, 1)
    second = output if is_probability else 1 / (1 + np.exp(-output))
    ours = run_bundle(directory, some_images())["probabilities"]
    np.testing.assert_allclose(ours, np.concatenate([1 - second, second], 1), atol=1e-5)
    assert len(np.unique(ours[:, 1].round(3))) > 1


@pytest.mark.parametrize("end", [None, nn.Sigmoid()], ids=["logit", "sigmoid"])
def test_both_classes_of_one_output_have_heat(tmp_path: Path, end: nn.Module | None) -> None:
    directory = convert(network_source(SmallNetwork(1, end), 2), tmp_path).directory
    session = open_graph((directory / "model.onnx").read_bytes())
    feed = {"images": some_images(), "classes": np.array([[0, 1]] * 6)}
    heat, logits = feed_session(session, feed, ["heat", "logits"])
    assert np.abs(heat).max(axis=(2, 3)).min() > 0
    if end is None:
        np.testing.assert_allclose(heat[:, 0], -heat[:, 1], rtol=1e-5)
        np.testing.assert_allclose(logits[:, 0], -logits[:, 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("network", "choice", "reason"),
    [
        (SmallNetwork(6, End("groups")), "auto", "the 6 outputs are 2 groups of 3 classes"),
        (SmallNetwork(5, End("unequal groups")), "auto", "are 2 groups of 2, 3 classes"),
        (SmallNetwork(3, End("batch softmax")), "auto", "add up to 3 instead of 1; check the axis"),
        (SmallNetwork(3, End("tanh")), "auto", "isn't clear what the outputs are.*none if it"),
        (SmallNetwork(1, nn.Softmax(dim=1)), "auto", "the softmax of a single number is always 1"),
        (SmallNetwork(3, nn.Sigmoid()), "softmax", "already ends in sigmoid, which contradicts"),
        (SmallNetwork(3, nn.Softmax(dim=1)), "sigmoid", "already ends in softmax"),
        (SmallNetwork(3), "none", "so they are no probabilities"),
        (SmallNetwork(3), "log-softmax", "are no log-probabilities of all classes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unclear_or_contradictory_output_is_rejected(
    tmp_path: Path, network: SmallNetwork, choice: ActivationChoice, reason: str
) -> None:
    outputs = network.dense.out_features
    source = network_source(network, 2 if outputs == 1 else outputs)
    with pytest.raises(ExporterError, match=reason):
        convert(replace(source, activation=choice), tmp_path / "models")
    assert not (tmp_path / "models").exists()


UNCLEAR = {
    "scaled sigmoid": lambda values: values.sigmoid() * 2 - 1,
    "percent": lambda values: values.softmax(1) * 100,
    "centered softmax": lambda values: values.softmax(1) - 0.5,
    "sum of softmaxes": lambda values: values.softmax(1) + (values / 2).softmax(1),
    "negative log-likelihood": lambda values: -values.log_softmax(1),
    "log of sigmoid": nn.functional.logsigmoid,
    "softplus": nn.functional.softplus,
    "clamp": lambda values: values.clamp(-1, 1),
    "softmax beside scores": lambda values: torch.cat([values[:, :2].softmax(1), values], 1),
    "scores beside softmax": lambda values: torch.cat([values, values[:, :2].softmax(1)], 1),
    "two heads": lambda values: torch.cat([values, values * 2], 1),
    "sigmoid without autograd": lambda values: (values.sigmoid() * 9).detach(),
    "sigmoid of a part": lambda values: values[:, :1].sigmoid_() * 0 + values,
    "unit length": lambda values: nn.functional.normalize(values, dim=1),
}


@pytest.mark.parametrize("function", UNCLEAR.values(), ids=UNCLEAR)
def test_a_function_of_the_scores_gets_no_guessed_activation(
    tmp_path: Path, function: Callable[[Tensor], Tensor]
) -> None:
    network = SmallNetwork(3, Apply(function))
    outputs = len(function(torch.zeros(1, 3))[0])
    with pytest.raises(ExporterError, match=r"isn't clear what the outputs are.*--activation"):
        convert(network_source(network, outputs), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_sorted_outputs_belong_to_no_class(tmp_path: Path) -> None:
    network = SmallNetwork(3, Apply(lambda values: values.softmax(1).sort(1).values))
    with pytest.raises(ExporterError, match="sorted by sort, so none of them belongs to one class"):
        convert(network_source(network), tmp_path / "models")


LOGITS = {
    "temperature": lambda values: values / 3,
    "background dropped": lambda values: values[:, 1:],
    "two branches": lambda values: (values + values * 0.5) / 2,
    "without autograd": Tensor.detach,
    "written in place": lambda values: values.clone().relu_().mul_(2),
}


@pytest.mark.parametrize("function", LOGITS.values(), ids=LOGITS)
def test_a_linear_function_of_the_scores_leaves_them_logits(
    function: Callable[[Tensor], Tensor],
) -> None:
    network = SmallNetwork(3, Apply(function)).eval()
    assert find_ending(network, torch.zeros(2, 3, SIDE, SIDE)).kind == "linear"


@pytest.mark.parametrize("function", [Tensor.sigmoid, lambda values: values.softmax(1)])
def test_an_activation_is_found_without_autograd(function: Callable[[Tensor], Tensor]) -> None:
    network = SmallNetwork(3, Apply(lambda values: function(values).detach())).eval()
    ending = find_ending(network, torch.zeros(2, 3, SIDE, SIDE))
    assert ending.kind in ("sigmoid", "softmax")
