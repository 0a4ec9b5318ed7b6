import numpy as np
import pytest

from convscope.exporter.datasets import Dataset, Split
from convscope.exporter.errors import DatasetError
from convscope.exporter.training.splits import (
    Splits,
    check_classes,
    check_splits,
    hold_back,
    split_warnings,
)


def split_of(*counts: int) -> Split:
    """Inputs that are their own number, with this many of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return Split(np.arange(len(labels)).reshape(-1, 1, 1, 1), labels)


def test_validation_inputs_are_held_back_from_each_class() -> None:
    split = split_of(1, 2, 12, 30, 400)
    train, validation = hold_back(split, 5, seed=0)
    assert np.bincount(validation.labels).tolist() == [0, 1, 2, 5, 20]
    assert sorted([*train.inputs.ravel(), *validation.inputs.ravel()]) == list(range(445))
    again, other = (hold_back(split, 5, seed=seed)[1].inputs.ravel() for seed in (0, 1))
    np.testing.assert_array_equal(again, validation.inputs.ravel())
    assert other.tolist() != again.tolist()


def warnings(split: Split, classes: int) -> str:
    splits = Splits(*hold_back(split, classes, seed=0), split)
    return "\n".join(split_warnings(splits, [f"class {number}" for number in range(classes)]))


def test_a_tiny_validation_split_causes_a_warning() -> None:
    found = warnings(split_of(12, 6), 2)
    assert "only 3 validation inputs, 1 of 'class 1'" in found


def test_classes_of_one_input_cause_a_warning() -> None:
    assert "the validation inputs are the training inputs" in warnings(split_of(1, 1), 2)


def test_an_empty_split_is_an_error_before_the_training() -> None:
    train, empty = split_of(1, 1), split_of(0, 0)
    with pytest.raises(DatasetError, match="the test split of npz:tiny has no inputs"):
        check_splits(Splits(train, train, empty), "npz:tiny")


def test_a_class_without_validation_inputs_is_named() -> None:
    assert warnings(split_of(700, 1), 2) == "the validation split has no input of 'class 1'"


def test_a_large_split_causes_no_warning() -> None:
    assert warnings(split_of(400, 400), 2) == ""


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            (0, 4, 4),
            "has no input of '0'; add inputs .*; if the class numbers in y start at 1, sub",
        ),
        ((4, 4, 0), "has no input of '2'; add inputs or remove the class$"),
    ],
)
def test_a_class_without_inputs_is_an_error_before_the_training(
    counts: tuple[int, ...], message: str
) -> None:
    split = split_of(*counts)
    with pytest.raises(DatasetError, match=message):
        check_classes(Dataset("npz:some.npz", ("0", "1", "2"), split, split))
