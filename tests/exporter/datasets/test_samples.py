from pathlib import Path

import numpy as np
import pytest
from support.datasets import write_images

from convscope.exporter.datasets import (
    ImageFiles,
    Split,
    load_dataset,
    prepare,
)
from convscope.exporter.errors import DatasetError
from convscope.exporter.preprocessing import ImagePreprocessing, TensorInput

SMALL = ImagePreprocessing(height=8, width=8, mean=(0.5,) * 3, std=(0.5,) * 3)


def test_an_unreadable_image_is_named_and_skipped(tmp_path: Path) -> None:
    write_images(tmp_path / "cat", 5)
    write_images(tmp_path / "dog", 5)
    (tmp_path / "cat" / "torn.jpg").write_bytes(b"\xff\xd8 torn")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    data = load_dataset(f"folder:{tmp_path}")
    warnings: list[str] = []
    prepared = [
        prepare(samples, SMALL, strict=False, warn=warnings.append)
        for samples in (data.train, data.test)
    ]
    assert sum(len(split.labels) for split in prepared) == 10
    assert prepared[0].inputs.shape[1:] == (8, 8, 3)
    (warning,) = warnings
    assert "torn.jpg can't be read" in warning


def test_an_unreadable_image_is_an_error_if_strict(tmp_path: Path) -> None:
    write_images(tmp_path / "cat", 1)
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"torn")
    files = ImageFiles([tmp_path / "cat/0.png", torn], np.array([0, 1]))
    with pytest.raises(DatasetError, match=r"torn\.png can't be read"):
        prepare(files, SMALL, strict=True, warn=print)


def test_arrays_of_another_size_are_resized(tmp_path: Path) -> None:
    images = np.full((3, 28, 28, 1), 100, np.uint8)
    prepared = prepare(Split(images, np.arange(3)), SMALL, strict=True, warn=print)
    assert prepared.inputs.shape == (3, 8, 8, 3)
    assert (prepared.inputs == 100).all()


def test_signals_are_rejected_for_a_network_of_images() -> None:
    signals = Split(np.zeros((2, 1, 8), np.float32), np.arange(2))
    with pytest.raises(DatasetError, match=r"are \[1, 8\], but the network takes \[8, 8, 3\]"):
        prepare(signals, SMALL, strict=False, warn=print)


def test_images_are_rejected_for_a_network_of_signals() -> None:
    images = Split(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2))
    with pytest.raises(DatasetError, match="the network takes tensors"):
        prepare(images, TensorInput((1, 8)), strict=False, warn=print)
