"""Bundles of earlier releases, whose logits are computed from probabilities, get useful heat."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.foreign_models import run_bundle
from support.small_networks import SIDE, Apply, SmallNetwork, network_source
from torch import Tensor, nn

from convscope.exporter.bundles.explain import explain_bundle
from convscope.exporter.bundles.verify import CHECKS, verify
from convscope.exporter.conversion import servable
from convscope.exporter.conversion.convert import convert

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


def _scores(network: SmallNetwork) -> NDArray[np.float32]:
    network.end = nn.Identity()
    planes = torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        scores: NDArray[np.float32] = network.eval()((planes - 0.5) / 0.25).numpy()
    return scores
