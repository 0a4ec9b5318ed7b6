"""Which names are suggested in the place of one that does not exist."""

import pytest

from convscope.bundle.suggestions import or_near, shown


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("rad", "red"),
        ("espreso", "espresso"),
        ("tiger-cat", "tiger cat"),
        ("tiger", "tiger cat"),
        ("ESPRESSO", "espresso"),
        ("max_que", "max_queue"),
    ],
)
def test_slip_is_corrected(name: str, known: str) -> None:
    assert or_near(name, [known, "unlike"]) == f"; did you mean {known}?"


@pytest.mark.parametrize(
    ("name", "other"), [("nope", "moped"), ("lion", "onion"), ("dog", "god"), ("cat", "chat room")]
)
def test_name_that_is_hardly_a_slip_is_not_suggested(name: str, other: str) -> None:
    assert or_near(name, [other]) == ""


def test_every_value_can_be_shown() -> None:
    assert shown("cat") == "'cat'"
    assert len(shown("a" * 1000)) < 100
    assert shown([10**5000]) == "a number of thousands of digits"
