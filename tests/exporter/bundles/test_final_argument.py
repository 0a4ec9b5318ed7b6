"""Bundles of earlier releases, whose logits are computed from probabilities, get useful heat."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support.foreign_models import run_bundle
from support.small_networks import SIDE, Apply, SmallNetwork, network_source
from support.tiny import SIDE as TINY_SIDE
from support.tiny import tiny_graph
from torch import Tensor, nn

from convscope.exporter.bundles.explain import explain_bundle
from convscope.exporter.bundles.final_argument import use_argument
from convscope.exporter.bundles.verify import CHECKS, verify
from convscope.exporter.conversion import servable
from convscope.exporter.conversion.convert import convert
from convscope.exporter.graphs.sessions import feed_session, open_graph

IMAGES = np.random.default_rng(2).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)


def no_argument(network: object, reference: object) -> bool:
    return False


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Publish networks as an earlier release did."""

    def publish(network: nn.Module, classes: int = 3, **options: Any) -> Path:
        monkeypatch.setattr(servable, "_has_argument", no_argument)
        source = replace(network_source(network, classes), explanations=False, **options)
        return convert(source, tmp_path).directory

    return publish


@pytest.mark.parametrize(
    ("outputs", "end"),
    [
        (3, nn.Softmax(dim=1)),
        (3, nn.LogSoftmax(dim=1)),
        (3, nn.Sigmoid()),
        (1, Apply(lambda values: values.sigmoid().squeeze(1))),
    ],
    ids=["softmax", "log-softmax", "sigmoid", "binary"],
)
def test_logits_become_the_argument_of_the_activation(
    older: Callable[..., Path], outputs: int, end: nn.Module
) -> None:
    network = SmallNetwork(outputs, end)
    published = older(network, max(outputs, 2))
    before = run_bundle(published, IMAGES)
    explained = explain_bundle(published)
    assert "warning" not in explained.summary
    after = run_bundle(explained.directory, IMAGES)
    np.testing.assert_array_equal(after["probabilities"], before["probabilities"])
    scores = _scores(network)
    expected = scores * np.array([-0.5, 0.5]) if outputs == 1 else scores
    np.testing.assert_allclose(after["logits"], expected, rtol=1e-4, atol=1e-3)
    assert len(list(verify(explained.directory))) == len(CHECKS)


def test_logits_that_stay_are_reported(older: Callable[..., Path]) -> None:
    def mean(values: Tensor) -> Tensor:
        return (values.softmax(1) + (values / 2).softmax(1)) / 2

    explained = explain_bundle(older(SmallNetwork(3, Apply(mean))))
    assert "warning: the heat of confident classes vanishes" in explained.summary


@pytest.mark.parametrize("outputs", [3, 1])
def test_logits_of_a_limited_function_stay(older: Callable[..., Path], outputs: int) -> None:
    """Their softmax is the probabilities, so that they are the argument already."""
    published = older(SmallNetwork(outputs, nn.Tanh()), max(outputs, 2), activation="sigmoid")
    before = run_bundle(published, IMAGES)
    explained = explain_bundle(published)
    assert "warning: the heat of confident classes vanishes" in explained.summary
    np.testing.assert_array_equal(
        run_bundle(explained.directory, IMAGES)["logits"], before["logits"]
    )


def test_a_branch_that_captures_the_logits_keeps_the_old_ones() -> None:
    model = tiny_graph()
    last, softmax = model.graph.node[-2:]
    last.output[0] = softmax.input[0] = "scores"
    inner = [helper.make_node("Add", ["logits", "logits"], ["twice"])]
    shape = helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["batch", 3])
    double = helper.make_graph(inner, "double", [], [shape])
    copied = helper.make_tensor_value_info("copied", TensorProto.FLOAT, ["batch", 3])
    identity = helper.make_node("Identity", ["logits"], ["copied"])
    unchanged = helper.make_graph([identity], "same", [], [copied])
    branches: Any = {"then_branch": double, "else_branch": unchanged}
    model.graph.node.extend(
        [
            helper.make_node("Log", ["probabilities"], ["logits"]),
            helper.make_node("If", ["always"], ["more"], **branches),
        ]
    )
    model.graph.initializer.append(helper.make_tensor("always", TensorProto.BOOL, [], [1]))
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))
    photos = IMAGES[:, :TINY_SIDE, :TINY_SIDE]

    def run() -> dict[str, NDArray[Any]]:
        names = ["logits", "probabilities", "more"]
        session = open_graph(model.SerializeToString())
        return dict(zip(names, feed_session(session, {"images": photos}, names), strict=True))

    before = run()
    assert use_argument(model, photos, 3) is not None
    after = run()
    np.testing.assert_allclose(after["more"], before["more"], rtol=1e-6)
    np.testing.assert_allclose(
        after["logits"] - after["logits"].max(axis=1, keepdims=True),
        before["logits"] - before["logits"].max(axis=1, keepdims=True),
        rtol=0,
        atol=1e-4,
    )
    assert np.abs(after["logits"] - before["logits"]).max() > 0.01


def _scores(network: SmallNetwork) -> NDArray[np.float32]:
    network.end = nn.Identity()
    planes = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        scores: NDArray[np.float32] = network.eval()((planes - 0.5) / 0.25).numpy()
    return scores
