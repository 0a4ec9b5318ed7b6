"""The resize as users declare it, and what it makes of images."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from convscope.exporter.errors import ExporterError
from convscope.exporter.preprocessing import Exact, Fit, ImagePreprocessing, ShortestEdge
from convscope.exporter.preprocessing.declared import DeclaredResize, check_size
from convscope.exporter.preprocessing.resizing import ResizeRule, rule_of

HEIGHT, WIDTH = 6, 8


@pytest.mark.parametrize(
    ("declared", "rule"),
    [
        (DeclaredResize(), None),
        (DeclaredResize("10"), ShortestEdge(10)),
        (DeclaredResize("10x12"), Exact(10, 12)),
        (DeclaredResize("exact"), Exact(HEIGHT, WIDTH)),
        (DeclaredResize("fit"), Fit((0, 0, 0))),
        (DeclaredResize("fit", "114"), Fit((114, 114, 114))),
        (DeclaredResize("fit", "1,2,3", "top-left"), Fit((1, 2, 3), "top-left")),
    ],
)
def test_values(declared: DeclaredResize, rule: ResizeRule | None) -> None:
    found = declared.rule(HEIGHT, WIDTH, 3)
    assert found == rule
    if found is not None:
        assert rule_of(found.to_proto()) == found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("big",), "--resize 'big' is none of: the length of the shorter edge"),
        (("0x4",), "--resize '0x4' is none of"),
        (("10x12x3",), "--resize '10x12x3' is none of"),
        (
            (
                "10",
                "114",
            ),
            "--padding needs --resize fit",
        ),
        (
            (
                None,
                None,
                "center",
            ),
            "--placement needs --resize fit",
        ),
        (
            (
                "fit",
                "256",
            ),
            "--padding '256' is no color",
        ),
        (
            (
                "fit",
                "white",
            ),
            "--padding 'white' is no color",
        ),
        (
            (
                "fit",
                "1,2",
            ),
            "--padding has 2 numbers for 3 channels",
        ),
    ],
)
def test_invalid_values(values: Any, message: str) -> None:
    with pytest.raises(ExporterError, match=message):
        DeclaredResize(*values).rule(HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (ShortestEdge(7), "--resize 7 is less than the network's input, 6x8; use at least 8"),
        (Exact(8, 7), "--resize 8x7 is less than the network's input, 6x8; use at least 6x8"),
    ],
)
def test_an_image_that_would_not_cover_the_input(rule: ResizeRule, message: str) -> None:
    with pytest.raises(ExporterError, match=message):
        check_size(rule, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("placement", "columns"), [("center", slice(2, 5)), ("top-left", slice(0, 3))]
)
def test_a_portrait_is_padded_beside_it(placement: str, columns: slice) -> None:
    # 3 of 8 columns: five are free, the odd one of which is on the right.
    expects = ImagePreprocessing(
        HEIGHT,
        WIDTH,
        (0.0,) * 3,
        (1.0,) * 3,
        resize=Fit((1, 2, 3), placement),  # type: ignore[arg-type]
    )
    found = expects.prepare_image(Image.new("RGB", (30, 60), (200, 200, 200)))
    expected = np.full((HEIGHT, WIDTH, 3), (1, 2, 3), np.uint8)
    expected[:, columns] = 200
    assert np.array_equal(found, expected)


def test_a_small_image_is_enlarged() -> None:
    expects = ImagePreprocessing(HEIGHT, WIDTH, (0.0,), (1.0,), resize=Fit((9,)))
    found = expects.prepare_image(Image.new("L", (4, 1), 200))
    assert found[:, :, 0].tolist() == [[9] * WIDTH] * 2 + [[200] * WIDTH] * 2 + [[9] * WIDTH] * 2


def test_padding_needs_a_value_for_each_channel() -> None:
    with pytest.raises(ExporterError, match="the padding has 3 values; the images have 1 channel"):
        ImagePreprocessing(HEIGHT, WIDTH, (0.0,), (1.0,), resize=Fit((1, 2, 3)))
