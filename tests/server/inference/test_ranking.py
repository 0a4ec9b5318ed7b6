"""The best classes, for every size that has its own algorithm."""

import numpy as np
import pytest

from convscope.server.inference.ranking import entropy_ratios, rank


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("classes", [1, 2, 10, 64, 65, 1000])
@pytest.mark.parametrize("count", [1, 5, 64, 10_000])
def test_the_largest_come_first(rows: int, classes: int, count: int) -> None:
    # Few different values, so that many are equal.
    values = np.random.default_rng(rows).integers(0, 9, (rows, classes)).astype(np.float32)
    order, scores = rank(values, count)
    for row, indices, found in zip(values, order, scores, strict=True):
        assert len(indices) == len(set(indices)) == min(count, classes)
        assert found == sorted(row.tolist(), reverse=True)[:count]
        assert found == row[indices].tolist()
        assert indices == np.argsort(-row, kind="stable")[:count].tolist()


@pytest.mark.parametrize("classes", [10, 65])
def test_of_equal_values_the_first_comes_first(classes: int) -> None:
    order, _ = rank(np.zeros((2, classes), np.float32), classes)
    assert order == [list(range(classes))] * 2


def test_no_class_is_requested_or_the_model_has_none() -> None:
    assert rank(np.ones((2, 3), np.float32), 0) == ([[], []], [[], []])
    assert rank(np.empty((2, 0), np.float32), 5) == ([[], []], [[], []])


def test_entropy_measures_how_undecided_a_row_is() -> None:
    rows = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0], [0.7, 0.1, 0.1, 0.1]], np.float32)
    expected = -(rows[3] * np.log(rows[3])).sum() / np.log(4)
    assert entropy_ratios(rows) == pytest.approx([0, 1, 0.5, expected])


@pytest.mark.parametrize(("rows", "classes"), [(2, 1), (2, 0), (0, 3)])
def test_fewer_than_two_classes_have_no_entropy(rows: int, classes: int) -> None:
    assert entropy_ratios(np.ones((rows, classes), np.float32)) == [0] * rows
