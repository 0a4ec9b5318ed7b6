"""Batches of items that request different outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.loading import load
from support.tiny import CHANNELS, SIDE, write_extractor

from convscope.server.errors import BundleRejectedError
from convscope.server.inference.batch import BatchItem, BatchOutput, run_batch
from convscope.server.repository.catalog import Target
from convscope.server.runtime.model import Model, ModelOutput


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    shape = (count, SIDE, SIDE, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def outputs_of(model: Model, *batch: BatchItem) -> list[BatchOutput]:
    outputs = []
    for output in run_batch(model, batch):
        assert isinstance(output, BatchOutput)
        outputs.append(output)
    return outputs


@pytest.fixture
def model(root: Path) -> Model:
    return load(root).resolve(Target("good")).model


def test_each_item_of_a_mixed_batch_gets_the_results_of_its_own_inputs(model: Model) -> None:
    batch = [
        BatchItem(images(1, 1), ("conv",)),
        BatchItem(images(2, 2)),
        BatchItem(images(3, 3), ("conv",)),
        BatchItem(images(1, 4)),
    ]
    for item, output in zip(batch, outputs_of(model, *batch), strict=True):
        alone = model.run(item.inputs, feature_maps=["conv"])
        np.testing.assert_allclose(output.probabilities, alone.probabilities, atol=1e-5)
        assert list(output.feature_maps) == list(item.feature_maps)
        for array in output.feature_maps.values():
            np.testing.assert_allclose(array, alone.feature_maps["conv"], atol=1e-4)


def test_each_kind_of_session_runs_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    run = model.run

    def counted(inputs: NDArray[np.generic], **options: Any) -> ModelOutput:
        runs.append(len(inputs))
        return run(inputs, **options)

    monkeypatch.setattr(model, "run", counted)
    plain, full = BatchItem(images(1)), BatchItem(images(2), ("conv",))
    outputs_of(model, plain, full, plain, full, plain)
    assert runs == [3, 4]


def test_classes_are_ranked_for_the_largest_top_k_and_at_least_one(model: Model) -> None:
    first, second = outputs_of(model, BatchItem(images(2)), BatchItem(images(1, 1)))
    assert [len(ranked) for ranked in (*first.classes, *second.classes)] == [1, 1, 1]
    first, second = outputs_of(model, BatchItem(images(2)), BatchItem(images(1, 1), top_k=2))
    for output in (first, second):
        for row, classes, scores in zip(
            output.probabilities, output.classes, output.scores, strict=True
        ):
            assert list(classes) == np.argsort(-row)[:2].tolist()
            assert list(scores) == row[list(classes)].tolist()


def test_logits_are_returned_to_a_batch_that_requests_them(model: Model) -> None:
    (output,) = outputs_of(model, BatchItem(images(1)))
    assert output.logits is None
    outputs = outputs_of(
        model, BatchItem(images(1), logits=True), BatchItem(images(2, 2), ("conv",), logits=True)
    )
    assert [None if o.logits is None else len(o.logits) for o in outputs] == [1, 2]


def test_entropy_is_computed_unless_the_whole_batch_is_untracked(model: Model) -> None:
    tracked, untracked = BatchItem(images(1)), BatchItem(images(2), untracked=True)
    assert [len(o.entropy_ratios) for o in outputs_of(model, tracked, untracked)] == [1, 2]
    assert [len(o.entropy_ratios) for o in outputs_of(model, untracked, untracked)] == [0, 0]


def test_feature_extractor_has_maps_and_no_classes(root: Path) -> None:
    write_extractor(root, "bank")
    model = load(root).resolve(Target("bank")).model
    with_map, without = outputs_of(
        model, BatchItem(images(2), ("conv",)), BatchItem(images(1), top_k=5)
    )
    assert with_map.feature_maps["conv"].shape == (2, CHANNELS, SIDE, SIDE)
    assert with_map.classes == [[], []]
    assert without.classes == [[]]


def test_failed_feature_maps_do_not_affect_the_other_items(root: Path) -> None:
    model = load(root).resolve(Target("good")).model
    (root / "good" / "1" / "model.onnx").write_bytes(b"changed")
    plain, full = run_batch(model, [BatchItem(images(1)), BatchItem(images(1), ("conv",))])
    assert isinstance(plain, BatchOutput)
    assert plain.probabilities.shape == (1, 3)
    assert isinstance(full, BundleRejectedError)
