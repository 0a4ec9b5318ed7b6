"""Deletion and insertion: which pixels change first, and what the score of the steps is."""

import numpy as np
import pytest
from PIL import Image

from bench.masking import STEPS, Masking, area, center_heat

WHITE = (255, 255, 255)
LEFT_IS_HOT = np.array([[1, 0]], np.float32)


@pytest.fixture
def masking() -> Masking:
    """A white photo of which the network sees all but a frame."""
    return Masking(Image.new("RGB", (64, 48), WHITE), (8, 4, 56, 44))


def test_hottest_pixels_are_deleted_first(masking: Masking) -> None:
    steps = list(masking.deleted(LEFT_IS_HOT))
    assert len(steps) == STEPS + 1
    assert (steps[0] == 255).all()
    half = steps[STEPS // 2][4:44, 8:56]
    assert (half[:, :20] == 127).all()
    assert (half[:, -20:] == 255).all()
    assert (steps[-1][4:44, 8:56] == 127).all()
    assert (steps[-1][:4] == 255).all()  # the network doesn't see the frame


def test_hottest_pixels_are_inserted_first() -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    steps = list(Masking(Image.fromarray(pixels), (0, 0, 64, 48)).inserted(LEFT_IS_HOT))
    assert (steps[-1] == pixels).all()
    sharp = (steps[STEPS // 2] == pixels).all(axis=2)
    assert sharp[:, :24].all()
    assert sharp[:, -24:].mean() < 0.1
    assert steps[0].std() < 20  # blurred


def test_each_step_changes_the_same_number_of_pixels(masking: Masking) -> None:
    gray = [(step[4:44, 8:56] == 127).all(axis=2).sum() for step in masking.deleted(center_heat())]
    assert np.abs(np.diff(gray) - 40 * 48 / STEPS).max() <= 1


def test_area_is_relative_to_the_photo() -> None:
    assert area([0.5] * (STEPS + 1), 0.5) == pytest.approx(1)
    assert area([0.5 * (1 - step / STEPS) for step in range(STEPS + 1)], 0.5) == pytest.approx(0.5)
