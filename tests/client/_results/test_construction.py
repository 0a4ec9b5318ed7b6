"""Results that are made from replies are the same as those that a caller makes."""

from dataclasses import FrozenInstanceError, astuple, replace
from pickle import dumps, loads

import pytest

from convscope.client._results.construction import constructor
from convscope.client.types import ClassScore

new_score = constructor(ClassScore)


def test_an_object_is_one_of_the_class_with_the_same_fields() -> None:
    one = new_score(3, "three", 0.5)
    assert type(one) is ClassScore
    assert astuple(one) == (3, "three", 0.5)
    assert one == ClassScore(3, "three", 0.5)
    assert hash(one) == hash(ClassScore(3, "three", 0.5))
    assert repr(one) == "ClassScore(index=3, label='three', probability=0.5)"


def test_an_object_is_frozen() -> None:
    one = new_score(3, "three", 0.5)
    with pytest.raises(FrozenInstanceError):
        one.index = 4  # type: ignore[misc]


def test_an_object_can_be_copied_and_pickled() -> None:
    one = new_score(3, "three", 0.5)
    assert replace(one, probability=0.25) == ClassScore(3, "three", 0.25)
    assert loads(dumps(one)) == one


def test_all_fields_are_required() -> None:
    with pytest.raises(TypeError):
        new_score(3, "three")
