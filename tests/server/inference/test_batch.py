"""Batches of parts that request different outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.loading import load
from support.requests import make_request
from support.tiny import CHANNELS, SIDE, write_extractor

from convscope.server.errors import BundleRejectedError
from convscope.server.inference import batch as batches
from convscope.server.inference.batch import Part, Results, run_batch
from convscope.server.inference.requests import InferenceResult, ReadyTensor
from convscope.server.observability.stages import StageSeconds
from convscope.server.repository.catalog import Target
from convscope.server.runtime.model import Model, ModelOutput


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    shape = (count, SIDE, SIDE, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def part(inputs: NDArray[np.uint8], maps: tuple[str, ...] = (), **options: Any) -> Part:
    request = make_request(*map(ReadyTensor, inputs), feature_maps=maps, **options)
    request.prepared = list(inputs)
    request.seconds = [StageSeconds() for _ in inputs]
    return Part(request, range(len(inputs)))


def results_of(model: Model, *batch: Part) -> list[list[InferenceResult]]:
    all_results = []
    for results in run_batch(model, batch):
        assert not isinstance(results, Exception)
        assert all(isinstance(result, InferenceResult) for result in results)
        all_results.append([r for r in results if isinstance(r, InferenceResult)])
    return all_results


@pytest.fixture
def model(root: Path) -> Model:
    return load(root).resolve(Target("good")).model


def test_each_part_of_a_mixed_batch_gets_the_results_of_its_own_inputs(model: Model) -> None:
    inputs = [images(1, 1), images(2, 2), images(3, 3), images(1, 4)]
    maps: list[tuple[str, ...]] = [("conv",), (), ("conv",), ()]
    batch = [part(*pair) for pair in zip(inputs, maps, strict=True)]
    for array, names, results in zip(inputs, maps, results_of(model, *batch), strict=True):
        alone = model.run(array, feature_maps=["conv"])
        assert len(results) == len(array)
        for row, result in enumerate(results):
            np.testing.assert_allclose(result.probabilities, alone.probabilities[row], atol=1e-5)
            for name in names:
                expected = alone.feature_maps[name][row]
                np.testing.assert_allclose(result.feature_map(name), expected, atol=1e-4)


@pytest.mark.parametrize("locked_bytes", [0, 2**20])
def test_inputs_keep_their_order_in_batches_of_every_size(
    model: Model, monkeypatch: pytest.MonkeyPatch, locked_bytes: int
) -> None:
    monkeypatch.setattr(batches, "MAX_LOCKED_BYTES", locked_bytes)
    inputs = images(5)
    first, second = results_of(model, part(inputs[:2]), part(inputs[2:]))
    expected = model.run(inputs).probabilities
    for row, result in enumerate([*first, *second]):
        np.testing.assert_allclose(result.probabilities, expected[row], atol=1e-5)


def test_each_kind_of_session_runs_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    run = model.run

    def counted(inputs: NDArray[np.generic], **options: Any) -> ModelOutput:
        runs.append(len(inputs))
        return run(inputs, **options)

    monkeypatch.setattr(model, "run", counted)
    plain, full = part(images(1)), part(images(2), ("conv",))
    results_of(model, plain, full, plain, full, plain)
    assert runs == [3, 4]


def test_classes_are_ranked_for_the_largest_top_k_and_at_least_one(model: Model) -> None:
    first, second = results_of(model, part(images(2)), part(images(1, 1)))
    assert [len(result.classes) for result in (*first, *second)] == [1, 1, 1]
    first, second = results_of(model, part(images(2)), part(images(1, 1), top_k=2))
    for result in (*first, *second):
        row = result.probabilities
        assert list(result.classes) == np.argsort(-row)[:2].tolist()
        assert list(result.scores) == row[list(result.classes)].tolist()


def test_logits_are_returned_to_a_batch_that_requests_them(model: Model) -> None:
    ((result,),) = results_of(model, part(images(1)))
    assert result.output.logits is None
    results = results_of(
        model, part(images(1), logits=True), part(images(2, 2), ("conv",), logits=True)
    )
    found = [result.output.logits for result, *_ in results]
    assert [None if logits is None else len(logits) for logits in found] == [1, 2]


def test_entropy_is_computed_unless_the_whole_batch_is_untracked(model: Model) -> None:
    def ratios(*batch: Part) -> list[bool]:
        results = results_of(model, *batch)
        return [one.entropy_ratio is not None for part_results in results for one in part_results]

    tracked, untracked = part(images(1)), part(images(2), untracked=True)
    assert ratios(tracked, untracked) == [True] * 3
    assert ratios(untracked, untracked) == [False] * 4


def test_feature_extractor_has_maps_and_no_classes(root: Path) -> None:
    write_extractor(root, "bank")
    model = load(root).resolve(Target("bank")).model
    with_map, (without,) = results_of(model, part(images(2), ("conv",)), part(images(1), top_k=5))
    assert with_map[1].feature_map("conv").shape == (CHANNELS, SIDE, SIDE)
    assert [result.classes for result in (*with_map, without)] == [[], [], []]


def test_failed_feature_maps_do_not_affect_the_other_parts(root: Path) -> None:
    model = load(root).resolve(Target("good")).model
    (root / "good" / "1" / "model.onnx").write_bytes(b"changed")
    found: list[Results | Exception] = run_batch(
        model, [part(images(1)), part(images(1), ("conv",))]
    )
    plain, full = found
    assert isinstance(plain, list)
    assert isinstance(plain[0], InferenceResult)
    assert plain[0].probabilities.shape == (3,)
    assert isinstance(full, BundleRejectedError)


def test_parts_take_the_inputs_without_an_error(model: Model) -> None:
    inputs = images(5)
    chosen = part(inputs)
    chosen.indices, chosen.size = [1, 4], 2
    (results,) = results_of(model, chosen)
    expected = model.run(inputs[[1, 4]]).probabilities
    for result, row in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.probabilities, row, atol=1e-5)
    queued = [one.queue > 0 for one in chosen.request.seconds]
    assert queued == [False, True, False, False, True]
    assert [one.infer > 0 for one in chosen.request.seconds] == queued
