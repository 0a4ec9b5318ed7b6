import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from convscope.exporter.datasets import (
    DatasetOptions,
    ImageFiles,
    Samples,
    Split,
    load_dataset,
    prepare,
)
from convscope.exporter.errors import DatasetError, HubError, UnknownNameError
from convscope.exporter.preprocessing import ImagePreprocessing, TensorInput

SMALL = ImagePreprocessing(height=8, width=8, mean=(0.5,) * 3, std=(0.5,) * 3)


def arrays_of(samples: Samples) -> Split:
    assert isinstance(samples, Split)
    return samples


def files_of(samples: Samples) -> ImageFiles:
    assert isinstance(samples, ImageFiles)
    return samples


def test_the_shipped_sample_of_mnist_is_whole() -> None:
    data = load_dataset("mnist_sample")
    train, test = arrays_of(data.train), arrays_of(data.test)
    assert train.inputs.shape == (10_000, 28, 28, 1)
    assert test.inputs.shape == (2_000, 28, 28, 1)
    assert data.labels == tuple("0123456789")
    assert set(train.labels) == set(test.labels) == set(range(10))


def test_no_test_image_is_among_the_training_images() -> None:
    data = load_dataset("mnist_sample")
    seen = {image.tobytes() for image in arrays_of(data.train).inputs}
    assert not any(image.tobytes() in seen for image in arrays_of(data.test).inputs)


def test_the_images_are_of_handwriting() -> None:
    images = arrays_of(load_dataset("mnist_sample").train).inputs
    assert 30 < float(np.mean(images)) < 37  # of MNIST: 33.3


def test_an_unknown_dataset_lists_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match=r"no dataset 'letters'; there are: .*mnist_sample"):
        load_dataset("letters")


# MNIST's own files.


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
def test_mnist_is_found_where_people_put_it(
    tmp_path: Path, name: str, place: str, packed: bool
) -> None:
    write_mnist(tmp_path / place, packed=packed)
    data = load_dataset(name, DatasetOptions(tmp_path))
    assert arrays_of(data.train).inputs.shape == (30, 28, 28, 1)
    assert arrays_of(data.test).labels.tolist() == list(range(10))
    assert len(data.labels) == 10


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=True)
    whole = (tmp_path / "train-images-idx3-ubyte.gz").read_bytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(whole[:1000])
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        load_dataset("mnist", DatasetOptions(tmp_path))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_a_dataset_that_cannot_be_downloaded_says_where_to_put_it(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    # urllib keeps the proxies of its first call for the whole process.
    monkeypatch.setattr("urllib.request._opener", None)
    with pytest.raises(HubError, match=r"can't be downloaded; put .*--data-dir"):
        load_dataset(name, DatasetOptions(tmp_path))


# A folder of one's own.


def write_images(folder: Path, count: int, size: tuple[int, int] = (20, 12)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("RGB", size, (index, 2 * index, 3)).save(folder / f"{index}.png")


def test_a_folder_is_split_by_seed_within_each_class(tmp_path: Path) -> None:
    write_images(tmp_path / "cat", 10)
    write_images(tmp_path / "dog", 5)
    data = load_dataset(f"folder:{tmp_path}", DatasetOptions(seed=1))
    train, test = files_of(data.train), files_of(data.test)
    assert data.labels == ("cat", "dog")
    assert np.bincount(train.labels).tolist() == [8, 4]
    assert np.bincount(test.labels).tolist() == [2, 1]
    assert not set(train.paths) & set(test.paths)
    again, other = (
        files_of(load_dataset(f"folder:{tmp_path}", DatasetOptions(seed=seed)).test)
        for seed in (1, 2)
    )
    assert again.paths == test.paths
    assert other.paths != test.paths


def test_a_folder_with_a_val_is_used_as_it_is(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        write_images(tmp_path / split / "cat", count)
        write_images(tmp_path / split / "dog", count)
    data = load_dataset(f"folder:{tmp_path}")
    assert np.bincount(files_of(data.train).labels).tolist() == [4, 4]
    assert np.bincount(files_of(data.test).labels).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        ({}, "holds no images in folders"),
        ({"cat": 3}, "has one class, 'cat'; a classifier needs two"),
        ({"cat": 3, "dog": 0}, "the class 'dog' in .* has no images"),
        ({"train/cat": 2, "train/dog": 2, "val/cow": 2, "val/cat": 1}, "val/ has the class 'cow'"),
        ({"val/cat": 2, "val/dog": 2}, "has val/ and no train/"),
    ],
)
def test_what_a_folder_lacks_is_said(tmp_path: Path, folders: dict[str, int], reason: str) -> None:
    for name, count in folders.items():
        write_images(tmp_path / name, count)
    with pytest.raises(DatasetError, match=reason):
        load_dataset(f"folder:{tmp_path}")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no folder .*absent"):
        load_dataset(f"folder:{tmp_path}/absent")


def test_an_image_that_cannot_be_read_is_named_and_skipped(tmp_path: Path) -> None:
    write_images(tmp_path / "cat", 5)
    write_images(tmp_path / "dog", 5)
    (tmp_path / "cat" / "torn.jpg").write_bytes(b"\xff\xd8 torn")
    (tmp_path / "cat" / "notes.txt").write_text("no image, and no matter")
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


def test_an_image_that_cannot_be_read_is_an_error_if_strict(tmp_path: Path) -> None:
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


# A file of arrays of one's own.


def write_arrays(path: Path, **arrays: object) -> str:
    plain: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
    np.savez(path, **plain)
    return f"npz:{path}"


def test_signals_are_read_and_split(tmp_path: Path) -> None:
    name = write_arrays(
        tmp_path / "waves.npz",
        x_train=np.zeros((20, 2, 64)),
        y_train=np.arange(20) % 2,
        classes=["slow", "fast"],
    )
    data = load_dataset(name)
    assert data.labels == ("slow", "fast")
    assert (data.holds_images, data.channels) == (False, 2)
    assert arrays_of(data.train).inputs.shape == (16, 2, 64)
    assert arrays_of(data.test).inputs.dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": [1]}, "holds x; it needs x_train and y_train"),
        ({"x_train": np.zeros((4, 1, 8)), "y_train": [0, 1]}, "isn't one whole number"),
        ({"x_train": np.zeros((2, 8)), "y_train": [0, 1]}, r"float64 \[2, 8\]; it is uint8"),
        ({"x_train": np.full((2, 1, 8), np.nan), "y_train": [0, 1]}, "NaN"),
        ({"x_train": np.zeros((9, 1, 8)), "y_train": [0] * 9}, "has one class"),
        (
            {"x_train": np.zeros((9, 1, 8)), "y_train": [0, 1, 2] * 3, "classes": ["a", "b"]},
            "names 2 classes, and its labels go from 0 to 2",
        ),
    ],
)
def test_what_is_wrong_with_arrays_is_said(
    tmp_path: Path, arrays: dict[str, object], reason: str
) -> None:
    with pytest.raises(DatasetError, match=reason):
        load_dataset(write_arrays(tmp_path / "some.npz", **arrays))


def test_a_file_without_arrays_is_named(tmp_path: Path) -> None:
    (tmp_path / "some.npz").write_bytes(b"noise")
    with pytest.raises(DatasetError, match=r"some\.npz can't be read as plain arrays"):
        load_dataset(f"npz:{tmp_path / 'some.npz'}")


def test_a_network_for_images_takes_no_signals() -> None:
    signals = Split(np.zeros((2, 1, 8), np.float32), np.arange(2))
    with pytest.raises(DatasetError, match=r"tensors are \[1, 8\], the network takes \[8, 8, 3\]"):
        prepare(signals, SMALL, strict=False, warn=print)


def test_a_network_for_signals_takes_no_images() -> None:
    images = Split(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2))
    with pytest.raises(DatasetError, match="the network takes tensors"):
        prepare(images, TensorInput((1, 8)), strict=False, warn=print)
