"""MNIST and Fashion-MNIST in their published files."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.datasets import arrays_of

from convscope.exporter.datasets import (
    DatasetOptions,
    load_dataset,
)
from convscope.exporter.errors import DatasetError


def idx(array: NDArray[np.uint8]) -> bytes:
    lengths = b"".join(length.to_bytes(4) for length in array.shape)
    return bytes((0, 0, 8, array.ndim)) + lengths + array.tobytes()


def write_mnist(folder: Path, *, packed: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for split, count in (("train", 30), ("t10k", 10)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{split}-{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mnist", "."),
        ("mnist", "mnist"),
        ("mnist", "MNIST/raw"),
        ("fashion_mnist", "FashionMNIST/raw"),
        ("fashion_mnist", "fashion-mnist"),
    ],
)
def test_mnist_is_found_in_the_usual_folders(
    tmp_path: Path, name: str, place: str, packed: bool
) -> None:
    write_mnist(tmp_path / place, packed=packed)
    data = load_dataset(name, DatasetOptions(tmp_path))
    assert arrays_of(data.train).inputs.shape == (30, 28, 28, 1)
    assert arrays_of(data.test).labels.tolist() == list(range(10))
    assert len(data.labels) == 10


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=True)
    complete = (tmp_path / "train-images-idx3-ubyte.gz").read_bytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(complete[:1000])
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        load_dataset("mnist", DatasetOptions(tmp_path))
