"""The figures, against values computed by hand."""

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope.exporter.evaluation.confusion import MAX_CLASSES, confusion_table
from convscope.exporter.evaluation.metrics import manifest_metrics, measure

LABELS = ("cat", "dog", "fox")


def rows(*values: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_figures_of_four_inputs() -> None:
    probabilities = rows((0.9, 0.1, 0.0), (0.6, 0.4, 0.0), (0.2, 0.8, 0.0), (0.3, 0.7, 0.0))
    found = measure(probabilities, np.array([0, 1, 1, 1]), LABELS)
    assert (found.inputs, found.correct, found.accuracy) == (4, 3, 0.75)
    cat, dog, fox = found.classes
    assert (cat.inputs, cat.predicted, cat.precision, cat.recall) == (1, 2, 0.5, 1.0)
    assert (dog.inputs, dog.predicted, dog.precision) == (3, 2, 1.0)
    assert dog.recall == pytest.approx(2 / 3)
    assert (fox.precision, fox.recall, fox.f1) == (None, None, None)
    # The class without inputs is not part of the average.
    assert found.balanced_accuracy == pytest.approx((1 + 2 / 3) / 2)
    assert found.log_loss == pytest.approx(-sum(map(math.log, (0.9, 0.4, 0.8, 0.7))) / 4, abs=1e-6)
    # Five bins: 0.9 and 0.8 share one, and so do 0.6 and 0.7.
    assert len(found.bins) == 5
    assert found.calibration_error == pytest.approx((0.15 + 0.15) / 2, abs=1e-6)
    assert (found.majority.label, found.majority_accuracy) == ("dog", 0.75)
    assert dog.recall_interval is not None
    assert dog.recall_interval == pytest.approx((0.208, 0.939), abs=1e-3)
    assert fox.recall_interval is None
    assert found.mean_confidence == pytest.approx(0.75)
    assert found.confusion.tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert found.confusions() == [(1, 0, 1)]


def test_interval_of_the_accuracy_narrows_with_more_inputs() -> None:
    def width(count: int) -> float:
        low, high = measure(
            np.tile(rows((0.9, 0.1, 0.0), (0.1, 0.9, 0.0)), (count, 1)),
            np.tile(np.array([0, 0]), count),
            LABELS,
        ).accuracy_interval
        assert 0 <= low < 0.5 < high <= 1
        return high - low

    assert width(1) > 0.8
    assert width(1000) < 0.05


def test_calibration_error_is_that_of_the_reliability_diagram() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (500, 3))
    powers = np.exp(logits)
    probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    found = measure(probabilities, random.integers(0, 3, 500), LABELS)
    assert sum(one.inputs for one in found.bins) == 500
    gaps = [one.inputs * abs((one.accuracy or 0) - (one.confidence or 0)) for one in found.bins]
    assert found.calibration_error == pytest.approx(sum(gaps) / 500, abs=1e-5)


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    found = measure(rows((1, 0, 0), (0.95, 0.05, 0), (0.95, 0.05, 0)), np.array([1, 0, 0]), LABELS)
    assert found.bins[-1].inputs == 3
    # The mean confidence of the bin is 2.9 / 3, and its accuracy 2 / 3.
    assert found.calibration_error == pytest.approx(0.3, abs=1e-6)


def test_a_probability_of_zero_and_rounding_above_one_give_finite_figures() -> None:
    found = measure(rows((0.0, 1.0000001, 0.0)), np.array([0]), LABELS)
    assert math.isfinite(found.log_loss)
    assert found.calibration_error == pytest.approx(1.0)
    json.dumps(found.as_json(), allow_nan=False)


def thousand(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
    random = np.random.default_rng(0)
    truth = random.integers(0, 900, count)
    probabilities = (random.random((count, 1000)) / 1000).astype(np.float32)
    probabilities[np.arange(count), np.where(truth % 9, truth, truth + 1)] += 0.5
    return probabilities, truth, [f"class {index}" for index in range(1000)]


def test_the_matrix_of_a_thousand_classes_shows_the_most_confused_ones() -> None:
    figures = measure(*thousand(3000))
    assert figures.top5_accuracy is not None
    assert figures.top5_accuracy >= figures.accuracy
    table = confusion_table(figures)
    assert not table.complete
    assert len(table.labels) <= MAX_CLASSES
    true, predicted, _ = figures.confusions()[0]
    assert {f"class {true}", f"class {predicted}"} <= set(table.labels)
    for row in table.rows:
        assert sum(cell.inputs for cell in row.cells) == row.inputs


def test_figures_for_the_manifest() -> None:
    found = measure(*thousand(500))
    metrics = {one.name: one.value for one in manifest_metrics(found, "photos test")}
    assert metrics["top1_accuracy"] == found.accuracy
    assert metrics["top5_accuracy"] == found.top5_accuracy
    assert set(metrics) == {
        "top1_accuracy",
        "top5_accuracy",
        "balanced_accuracy",
        "log_loss",
        "calibration_error",
    }
