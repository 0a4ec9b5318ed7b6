"""Which classes to explain, as arguments and as messages of a request."""

from typing import Any

import numpy as np
import pytest

from convscope.client import Explain, InvalidInputError, Rank
from convscope.client._calls.requests import encode_template
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb


def selections(explain: Any, **options: Any) -> list[pb.ExplanationSelection]:
    template = encode_template("m", explain=explain, **options)
    return list(pb.ClassifyRequest.FromString(template.key).explanations)


def targets(explain: Any) -> list[tuple[str, Any]]:
    """Return the field and the value of each target."""
    found: list[tuple[str, Any]] = []
    for selection in selections(explain):
        kind = selection.target.WhichOneof("selector")
        assert kind is not None
        found.append((kind, getattr(selection.target, kind)))
    return found


@pytest.mark.parametrize("nothing", [None, False])
def test_by_default_nothing_is_explained(nothing: Any) -> None:
    assert selections(nothing) == []


@pytest.mark.parametrize("count", [3, np.int64(3)])
def test_a_number_is_how_many_of_the_best_classes(count: Any) -> None:
    assert targets(count) == [("rank", 1), ("rank", 2), ("rank", 3)]


def test_true_is_the_best_class() -> None:
    assert targets(True) == [("rank", 1)]


def test_a_list_has_labels_indices_and_ranks() -> None:
    mixed = ["tiger cat", 281, np.int32(0), Rank(2), Explain("cup")]
    assert targets(iter(mixed)) == [
        ("label", "tiger cat"),
        ("class_index", 281),
        ("class_index", 0),
        ("rank", 2),
        ("label", "cup"),
    ]


@pytest.mark.parametrize(
    ("one", "target"),
    [("cup", ("label", "cup")), (Rank(2), ("rank", 2)), (Explain(), ("rank", 1))],
)
def test_a_single_class_needs_no_list(one: Any, target: tuple[str, Any]) -> None:
    assert targets(one) == [target]


def test_all_are_contrasted_with_a_class() -> None:
    found = selections(["cup", 3], against="espresso")
    assert [selection.against.label for selection in found] == ["espresso", "espresso"]
    (best,) = selections(1, against=Rank(2))
    assert (best.target.rank, best.against.rank) == (1, 2)
    assert not selections(1)[0].HasField("against")


def test_details_are_in_the_request() -> None:
    (plain,) = selections("cup")
    assert plain.method == pb.EXPLANATION_METHOD_GRAD_CAM
    assert plain.dtype == mpb.DATA_TYPE_FLOAT32
    assert not plain.HasField("occlusion")
    (grid,) = selections(Explain("cup", method="occlusion", cells=9, window=2, dtype="uint8"))
    assert (grid.method, grid.dtype) == (pb.EXPLANATION_METHOD_OCCLUSION, mpb.DATA_TYPE_UINT8)
    assert (grid.occlusion.cells, grid.occlusion.window) == (9, 2)


def test_only_equal_explanations_have_equal_keys() -> None:
    options: list[dict[str, Any]] = [
        {},
        {"explain": 1},
        {"explain": 2},
        {"explain": [1]},
        {"explain": ["1"]},
        {"explain": 1, "against": 1},
        {"explain": Explain(method="cam")},
    ]
    keys = [encode_template("m", **option).key for option in options]
    assert len(set(keys)) == len(options)
    assert [encode_template("m", **option).key for option in options] == keys


@pytest.mark.parametrize(
    ("explain", "message"),
    [
        (0, "explain is 0; it must be between 1 and 1,000"),
        (-1, "explain is -1; it must be between 1"),
        (2.0, "explain is 2.0; give how many of the best classes"),
        ([], "explain is empty; give how many"),
        ([-1], "the index of a class is -1; it must be 0 or more"),
        ([1.5], "a class can't be 1.5; give its label, index or Rank"),
        ([True], "a class can't be True"),
        ([["cup"]], r"a class can't be \['cup'\]"),
        ([None], "a class can't be None"),
    ],
)
def test_arguments_that_select_no_class_are_rejected(explain: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        selections(explain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "grad_cam"}, "no explanation method 'grad_cam'; there are: grad-cam, cam"),
        ({"dtype": "int8"}, "no dtype 'int8' for an explanation; there are: float32"),
        ({"method": "eigen-cam", "against": 1}, "the same for all classes, so it has no contrast"),
        ({"cells": 7}, "cells and window are options of occlusion, not of grad-cam"),
        ({"method": "occlusion", "cells": 1}, "cells is 1; it must be 2 or more"),
        ({"method": "occlusion", "window": 0.5}, "window is 0.5; it must be at least 1"),
        ({"method": "occlusion", "window": float("nan")}, "window is nan"),
        ({"method": "occlusion", "window": "2"}, "window is '2'"),
    ],
)
def test_wrong_details_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Explain("cup", **options)


@pytest.mark.parametrize("position", [0, -1, 1.5])
def test_a_rank_is_a_positive_integer(position: Any) -> None:
    with pytest.raises(InvalidInputError, match="the position of a rank is"):
        Rank(position)


def test_a_contrast_belongs_to_an_explanation() -> None:
    with pytest.raises(InvalidInputError, match="against is 'cup' without explain"):
        selections(None, against="cup")
    with pytest.raises(InvalidInputError, match="contrasted twice, with 1 and with 'cup'"):
        selections(Explain(against=1), against="cup")
    with pytest.raises(InvalidInputError, match="has no contrast"):
        selections(Explain(method="eigen-cam"), against="cup")
