"""One version's runs: batches, and feature maps that cost nothing until asked for."""

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
from convscope.server.runtime.model import BatchItem, BatchOutput, Model


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    shape = (count, SIDE, SIDE, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def expected(inputs: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities and feature map, by code that shares nothing with ONNX Runtime."""
    wanted = ["probabilities", "conv"]
    outputs = ReferenceEvaluator(tiny_graph()).run(wanted, {"images": inputs})
    probabilities, conv = (np.asarray(output, np.float32) for output in outputs)
    return probabilities, conv


@pytest.fixture
def model(root: Path) -> Model:
    return load(root).resolve(Target("good")).model


@pytest.mark.parametrize("count", [1, 2, 5])
def test_probabilities_are_the_graph_s(model: Model, count: int) -> None:
    output = model.run_one(BatchItem(images(count)))
    np.testing.assert_allclose(output.probabilities, expected(images(count))[0], atol=1e-5)
    assert output.feature_maps == {}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_feature_maps_are_the_graph_s(model: Model, count: int) -> None:
    output = model.run_one(BatchItem(images(count), ("conv",)))
    probabilities, conv = expected(images(count))
    np.testing.assert_allclose(output.probabilities, probabilities, atol=1e-5)
    assert output.feature_maps["conv"].shape == (count, CHANNELS, SIDE, SIDE)
    np.testing.assert_allclose(output.feature_maps["conv"], conv, atol=1e-4)


def test_logits_come_for_the_work_that_wants_them(model: Model) -> None:
    works = [BatchItem(images(1, 1), logits=True), BatchItem(images(2, 2), ("conv",), logits=True)]
    for work, output in zip(works, model.run(works), strict=True):
        (wanted,) = np.asarray(
            ReferenceEvaluator(tiny_graph()).run(["logits"], {"images": work.inputs}), np.float32
        )
        assert isinstance(output, BatchOutput)
        assert output.logits is not None
        np.testing.assert_allclose(output.logits, wanted, atol=1e-4)
    assert model.run_one(BatchItem(images(1, 1))).logits is None


def test_batch_that_mixes_both_keeps_its_order(model: Model) -> None:
    works = [
        BatchItem(images(1, 1), ("conv",)),
        BatchItem(images(2, 2)),
        BatchItem(images(3, 3), ("conv",)),
        BatchItem(images(1, 4)),
    ]
    outputs = model.run(works)
    for work, output in zip(works, outputs, strict=True):
        inputs = np.asarray(work.inputs, np.uint8)
        probabilities, conv = expected(inputs)
        assert isinstance(output, BatchOutput)
        np.testing.assert_allclose(output.probabilities, probabilities, atol=1e-5)
        assert list(output.feature_maps) == list(work.feature_maps)
        for array in output.feature_maps.values():
            np.testing.assert_allclose(array, conv, atol=1e-4)


def test_tensor_model_runs_batches(root: Path) -> None:
    write_signal(root)
    signals = np.random.default_rng(0).normal(size=(3, 1, 32)).astype(np.float32)
    model = load(root).resolve(Target("signal")).model
    together = model.run_one(BatchItem(signals)).probabilities
    one_by_one = [model.run_one(BatchItem(s[np.newaxis])).probabilities for s in signals]
    np.testing.assert_allclose(together, np.concatenate(one_by_one), atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)


def test_feature_extractor_has_maps_and_no_classes(root: Path) -> None:
    write_extractor(root, "bank")
    repository = load(root)
    assert repository.rejections == []
    model = repository.resolve(Target("bank")).model
    with_map, without = model.run([BatchItem(images(2), ("conv",)), BatchItem(images(1))])
    assert isinstance(with_map, BatchOutput)
    assert isinstance(without, BatchOutput)
    assert with_map.probabilities.shape == (2, 0)
    assert without.probabilities.shape == (1, 0)
    np.testing.assert_allclose(with_map.feature_maps["conv"], expected(images(2))[1], atol=1e-4)


# The session with feature maps is made from the file when first needed


def test_graph_changed_on_disk_is_refused_when_feature_maps_are_first_asked_for(
    root: Path,
) -> None:
    model = load(root).resolve(Target("good")).model
    other = write_tiny(root, "other", alter_graph=change_weight("dense", lambda w: 2 * w))
    (other / "model.onnx").replace(root / "good" / "1" / "model.onnx")
    with pytest.raises(BundleRejectedError, match="SHA-256"):
        model.run_one(BatchItem(images(1), ("conv",)))
    assert model.run_one(BatchItem(images(1))).probabilities.shape == (1, 3)


def test_batchmates_without_feature_maps_are_answered_all_the_same(root: Path) -> None:
    model = load(root).resolve(Target("good")).model
    (root / "good" / "1" / "model.onnx").write_bytes(b"changed")
    outputs = model.run([BatchItem(images(1)), BatchItem(images(1), ("conv",))])
    assert isinstance(outputs[0], BatchOutput)
    assert outputs[0].probabilities.shape == (1, 3)
    assert isinstance(outputs[1], BundleRejectedError)


def test_preloaded_feature_maps_need_the_file_no_more(root: Path) -> None:
    model = load(root, preload_feature_maps=True).resolve(Target("good")).model
    (root / "good" / "1" / "model.onnx").unlink()
    assert model.run_one(BatchItem(images(1), ("conv",))).feature_maps["conv"].shape[0] == 1
