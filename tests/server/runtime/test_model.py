"""One version's runs, and feature maps that cost nothing until they are requested."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from support.alterations import change_weight
from support.loading import load
from support.tiny import CHANNELS, SIDE, tiny_graph, write_extractor, write_signal, write_tiny

from convscope.server.errors import BundleRejectedError
from convscope.server.repository.catalog import Target
from convscope.server.runtime.model import Model
from convscope.server.runtime.versions import label_bytes


def images(count: int) -> NDArray[np.uint8]:
    shape = (count, SIDE, SIDE, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def expected(inputs: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """An output, by code that shares nothing with ONNX Runtime."""
    (output,) = ReferenceEvaluator(tiny_graph()).run([name], {"images": inputs})
    return np.asarray(output, np.float32)


@pytest.fixture
def model(root: Path) -> Model:
    return load(root).resolve(Target("good")).model


@pytest.mark.parametrize("count", [1, 2, 5])
def test_probabilities_are_the_graph_s(model: Model, count: int) -> None:
    output = model.run(images(count))
    found = expected(images(count), "probabilities")
    np.testing.assert_allclose(output.probabilities, found, atol=1e-5)
    assert (output.feature_maps, output.logits) == ({}, None)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_feature_maps_are_the_graph_s(model: Model, count: int) -> None:
    output = model.run(images(count), feature_maps=["conv"])
    found = expected(images(count), "probabilities")
    np.testing.assert_allclose(output.probabilities, found, atol=1e-5)
    assert output.feature_maps["conv"].shape == (count, CHANNELS, SIDE, SIDE)
    found = expected(images(count), "conv")
    np.testing.assert_allclose(output.feature_maps["conv"], found, atol=1e-4)


@pytest.mark.parametrize("feature_maps", [(), ("conv",)])
@pytest.mark.parametrize("concurrent", [False, True])
def test_logits_are_the_graph_s(
    model: Model, feature_maps: tuple[str, ...], concurrent: bool
) -> None:
    output = model.run(images(2), feature_maps=feature_maps, logits=True, concurrent=concurrent)
    assert output.logits is not None
    np.testing.assert_allclose(output.logits, expected(images(2), "logits"), atol=1e-4)


def test_tensor_model_runs_batches(root: Path) -> None:
    write_signal(root)
    signals = np.random.default_rng(0).normal(size=(3, 1, 32)).astype(np.float32)
    model = load(root).resolve(Target("signal")).model
    together = model.run(signals).probabilities
    one_by_one = [model.run(signal[np.newaxis]).probabilities for signal in signals]
    np.testing.assert_allclose(together, np.concatenate(one_by_one), atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)


def test_feature_extractor_has_maps_and_no_classes(root: Path) -> None:
    write_extractor(root, "bank")
    repository = load(root)
    assert repository.rejections == []
    model = repository.resolve(Target("bank")).model
    with_map, without = model.run(images(2), feature_maps=["conv"]), model.run(images(1))
    assert with_map.probabilities.shape == (2, 0)
    assert without.probabilities.shape == (1, 0)
    found = expected(images(2), "conv")
    np.testing.assert_allclose(with_map.feature_maps["conv"], found, atol=1e-4)


# The session with feature maps is opened from the file on first use


def test_graph_changed_on_disk_is_rejected_when_feature_maps_are_first_requested(
    root: Path,
) -> None:
    model = load(root).resolve(Target("good")).model
    other = write_tiny(root, "other", alter_graph=change_weight("dense", lambda w: 2 * w))
    (other / "model.onnx").replace(root / "good" / "1" / "model.onnx")
    with pytest.raises(BundleRejectedError, match="SHA-256"):
        model.run(images(1), feature_maps=["conv"])
    assert model.run(images(1)).probabilities.shape == (1, 3)


def test_preloaded_feature_maps_do_not_need_the_file(root: Path) -> None:
    model = load(root, preload_feature_maps=True).resolve(Target("good")).model
    (root / "good" / "1" / "model.onnx").unlink()
    assert model.run(images(1), feature_maps=["conv"]).feature_maps["conv"].shape[0] == 1


def test_label_bytes_are_those_of_the_longest_names() -> None:
    assert label_bytes(["cat", "ö", "horse"]) == (0, 5, 8, 10)
