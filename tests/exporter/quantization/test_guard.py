"""What the accuracy guard accepts, on made-up probabilities."""

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope.exporter.quantization.guard import Fidelity, compare_results

CLASSES = 5


def confident(count: int, lead: float = 0.6) -> NDArray[np.float32]:
    """Return probabilities whose best classes take turns and lead by this much."""
    rest = (1 - lead) / CLASSES
    found = np.full((count, CLASSES), rest, np.float32)
    found[np.arange(count), np.arange(count) % CLASSES] += lead
    return found


def swapped(expected: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return probabilities with another best class in the first rows."""
    found = expected.copy()
    found[:count] = np.roll(found[:count], 1, axis=1)
    return found


def problems(fidelity: Fidelity) -> str:
    return "; ".join(fidelity.problems())


def test_equal_results_are_accepted() -> None:
    expected = confident(100)
    found = compare_results(expected, expected, expected.argmax(axis=1))
    assert (found.kept, found.kept_where_clear, found.probability_change) == (1, 1, 0)
    assert (found.accuracy, found.accuracy_change) == (1, 0)
    assert problems(found) == ""


@pytest.mark.parametrize(("lost", "message"), [(2, ""), (3, "98.5% of the clear best classes")])
def test_one_in_a_hundred_clear_results_may_change(lost: int, message: str) -> None:
    expected = confident(200)
    assert problems(compare_results(expected, swapped(expected, lost))).startswith(message)


def test_results_that_are_not_clear_may_change() -> None:
    expected = np.concatenate([confident(100), confident(100, lead=0.05)])
    found = expected.copy()
    found[100:] = np.roll(found[100:], 1, axis=1)
    fidelity = compare_results(expected, found)
    assert (fidelity.clear, fidelity.kept, fidelity.kept_where_clear) == (100, 0.5, 1)


def test_probabilities_may_change_by_a_fortieth() -> None:
    expected = confident(100, lead=0.6)
    for lead, message in ((0.58, ""), (0.55, "the probability of the best class changes by 0.040")):
        assert problems(compare_results(expected, confident(100, lead))).startswith(message)


def test_the_accuracy_may_fall_by_half_a_point() -> None:
    expected = confident(1000)
    labels = expected.argmax(axis=1)
    for lost, message in ((5, ""), (6, "the accuracy falls by 0.6 points; at most 0.5")):
        found = compare_results(expected, swapped(expected, lost), labels)
        assert problems(found).startswith(message)


def test_nan_is_never_accepted() -> None:
    expected = confident(100)
    assert "changes by nan" in problems(compare_results(expected, expected * np.float32(np.nan)))


def test_fifty_clear_results_are_needed() -> None:
    expected = np.concatenate([confident(49), confident(100, lead=0.05)])
    assert "only 49 of the 149 held-out inputs" in problems(compare_results(expected, expected))


def several(count: int) -> NDArray[np.float32]:
    """Return probabilities of independent classes, two of which are probable."""
    found = np.full((count, CLASSES), 0.1, np.float32)
    found[:, :2] = 0.95, 0.8
    return found


@pytest.mark.parametrize(("lost", "message"), [(2, ""), (3, "98.5% of the clear results keep all")])
def test_all_classes_that_are_probable_must_be_kept(lost: int, message: str) -> None:
    expected = several(200)
    found = expected.copy()
    found[:lost, 1] = 0.4  # the best class stays
    fidelity = compare_results(expected, found, independent=True)
    assert fidelity.kept == 1 - lost / 200
    assert problems(fidelity).startswith(message)
    assert problems(compare_results(expected, found)) == ""


def test_the_order_of_independent_classes_is_no_result() -> None:
    expected = several(100)
    fidelity = compare_results(expected, expected[:, [1, 0, 2, 3, 4]], independent=True)
    assert (fidelity.kept, fidelity.clear) == (1, 100)
    assert fidelity.probability_change == pytest.approx(0.15)


def test_a_class_at_the_threshold_is_not_clear() -> None:
    expected = several(100)
    expected[60:, 4] = 0.53
    found = expected.copy()
    found[60:, 4] = 0.49
    fidelity = compare_results(expected, found, independent=True)
    assert (fidelity.clear, fidelity.kept, fidelity.kept_where_clear) == (60, 0.6, 1)
    expected[40:, 4] = 0.53
    message = "only 40 of the 100 held-out inputs have no class within 0.05 of the probability 0.5"
    assert problems(compare_results(expected, expected, independent=True)).startswith(message)
