"""A mean and a standard deviation must fit the scale of the pixels."""

from collections.abc import Sequence

import pytest

from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing.conventions import CONVENTIONS
from convscope.exporter.preprocessing.plausibility import check_normalization


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_convention_is_plausible(name: str) -> None:
    convention = CONVENTIONS[name]
    check_normalization(convention.scale, convention.mean, convention.std)


@pytest.mark.parametrize(
    ("scale", "mean", "std"),
    [(1 / 256, [0], [1]), (1, [128], [128]), (0.017, [1.76], [1]), (1, [104, 117, 124], [57.4])],
)
def test_usual_values_are_plausible(
    scale: float, mean: Sequence[float], std: Sequence[float]
) -> None:
    check_normalization(scale, mean, std)


@pytest.mark.parametrize(
    ("scale", "mean", "std", "fixes"),
    [
        (
            1 / 255,
            [127.5],
            [127.5],
            "use --mean 0.5 --std 0.5 for the same in these units, or --scale 1",
        ),
        (
            1 / 255,
            [123.675, 116.28, 103.53],
            [58.395, 57.12, 57.375],
            "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
        ),
        (
            1,
            [0.485],
            [0.229],
            "--mean 123.675 --std 58.395 for the same in these units, or --scale 1/255",
        ),
        (1 / 255, [127.5], [1], "--scale 1"),
    ],
)
def test_values_of_another_scale_are_rejected_with_two_fixes(
    scale: float, mean: Sequence[float], std: Sequence[float], fixes: str
) -> None:
    with pytest.raises(ExporterError) as caught:
        check_normalization(scale, mean, std)
    assert fixes in str(caught.value)


@pytest.mark.parametrize("std", [0, -1, float("nan"), float("inf")])
def test_a_standard_deviation_is_a_number_above_zero(std: float) -> None:
    with pytest.raises(ExporterError, match="numbers above 0"):
        check_normalization(1 / 255, [0], [std])
