"""Results with NaN or infinity, and the results beside them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from convscope.server.inference.finite import NonFiniteRows
from convscope.server.runtime.model import ModelOutput

Floats = NDArray[np.float32]


def ones(*shape: int) -> Floats:
    return np.ones(shape, np.float32)


def bad(array: Floats, row: int, value: float = np.nan) -> Floats:
    array.reshape(len(array), -1)[row, -1] = value
    return array


@pytest.mark.parametrize("classes", [3, 5000])  # small and large outputs are checked differently
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_only_the_row_of_a_value_that_is_not_finite_is_found(classes: int, value: float) -> None:
    rows = NonFiniteRows(ModelOutput(bad(ones(4, classes), 2, value), {}, None))
    assert rows.among(slice(0, 4), (), logits=False) == (2,)
    assert rows.among(slice(1, 3), (), logits=False) == (1,)
    assert rows.among(slice(0, 2), (), logits=False) == ()


@pytest.mark.parametrize("classes", [3, 5000])
def test_large_values_are_finite(classes: int) -> None:
    large = np.full((4, classes), np.finfo(np.float32).max)
    output = ModelOutput(ones(4, classes), {"conv": large}, large)
    assert NonFiniteRows(output).among(slice(0, 4), ("conv",), logits=True) == ()


def test_only_the_returned_outputs_count() -> None:
    maps = {"first": bad(ones(4, 2, 3, 3), 0), "last": ones(4, 2, 3, 3)}
    rows = NonFiniteRows(ModelOutput(ones(4, 3), maps, bad(ones(4, 3), 3)))
    everything = slice(0, 4)
    assert rows.among(everything, ("last",), logits=False) == ()
    assert rows.among(everything, ("first", "last"), logits=False) == (0,)
    assert rows.among(everything, (), logits=True) == (3,)
    assert rows.among(everything, ("first",), logits=True) == (0, 3)


def test_a_feature_extractor_without_classes_is_checked_too() -> None:
    none = np.empty((2, 0), np.float32)
    rows = NonFiniteRows(ModelOutput(none, {"conv": bad(ones(2, 4, 8, 8), 1)}, None))
    assert rows.among(slice(0, 2), ("conv",), logits=False) == (1,)
