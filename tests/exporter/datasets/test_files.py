"""A user's datasets: a folder of images, and a file of arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.datasets import arrays_of, files_of, write_images

from convscope.exporter.datasets import (
    DatasetOptions,
    load_dataset,
)
from convscope.exporter.errors import DatasetError


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


def test_val_is_the_validation_split_also_without_a_test_split(tmp_path: Path) -> None:
    for split, count in (("train", 10), ("val", 2)):
        write_images(tmp_path / split / "cat", count)
        write_images(tmp_path / split / "dog", count)
    data = load_dataset(f"folder:{tmp_path}")
    assert data.validation is not None
    found = [files_of(samples) for samples in (data.train, data.validation, data.test)]
    assert [np.bincount(files.labels).tolist() for files in found] == [[8, 8], [2, 2], [2, 2]]
    assert [{path.parts[-3] for path in files.paths} for files in found] == [
        {"train"},
        {"val"},
        {"train"},
    ]


def test_a_folder_may_have_all_three_splits(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 3), ("test", 2)):
        write_images(tmp_path / split / "cat", count)
        write_images(tmp_path / split / "dog", count)
    data = load_dataset(f"folder:{tmp_path}")
    assert data.validation is not None
    found = [files_of(samples) for samples in (data.train, data.validation, data.test)]
    assert [len(files.labels) for files in found] == [8, 6, 4]
    assert {path.parts[-3] for path in found[2].paths} == {"test"}


def test_the_test_images_of_a_folder_without_validation_images_are_used(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_images(tmp_path / split / "cat", 5)
        write_images(tmp_path / split / "dog", 5)
    data = load_dataset(f"folder:{tmp_path}")
    assert {path.parts[-3] for path in files_of(data.test).paths} == {"test"}
    assert len(data.train.labels) == 10


def test_the_only_image_of_a_class_is_a_training_image(tmp_path: Path) -> None:
    write_images(tmp_path / "cat", 1)
    write_images(tmp_path / "dog", 10)
    data = load_dataset(f"folder:{tmp_path}")
    assert np.bincount(files_of(data.train).labels).tolist() == [1, 8]


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        ({}, "has no folders with images"),
        ({"cat": 3}, "has one class, 'cat'; a classifier needs two"),
        ({"cat": 3, "dog": 0}, "the class 'dog' in .* has no images"),
        ({"train/cat": 2, "train/dog": 2, "val/cow": 2, "val/cat": 1}, "val/ has the class 'cow'"),
        ({"val/cat": 2, "val/dog": 2}, "has val/ but no train/"),
        ({"cat": 2, "dog": 2, "test/cat": 2}, "has test/ but no train/"),
    ],
)
def test_an_incomplete_folder_is_explained(
    tmp_path: Path, folders: dict[str, int], reason: str
) -> None:
    for name, count in folders.items():
        write_images(tmp_path / name, count)
    with pytest.raises(DatasetError, match=reason):
        load_dataset(f"folder:{tmp_path}")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no folder .*absent"):
        load_dataset(f"folder:{tmp_path}/absent")


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


def test_arrays_may_have_validation_inputs(tmp_path: Path) -> None:
    name = write_arrays(
        tmp_path / "waves.npz",
        x_train=np.zeros((20, 2, 64)),
        y_train=np.arange(20) % 2,
        x_val=np.zeros((6, 2, 64)),
        y_val=np.arange(6) % 2,
    )
    data = load_dataset(name)
    assert data.validation is not None
    assert [len(one.labels) for one in (data.train, data.validation, data.test)] == [16, 6, 4]


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": [1]}, "has x; it needs x_train and y_train"),
        (
            {"x_train": np.zeros((4, 1, 8)), "y_train": [0, 1]},
            r"one integer for each of the 4 inputs, but it is int64 \[2\]$",
        ),
        (
            {"x_train": np.zeros((2, 1, 8)), "y_train": np.eye(2)},
            r"but it is float64 \[2, 2\]; of one-hot rows, these are y.argmax\(axis=1\)",
        ),
        (
            {"x_train": np.zeros((2, 1, 8)), "y_train": ["cat", "dog"]},
            r"but it is <U3 \[2\]; of class names, these are np.unique",
        ),
        ({"x_train": np.zeros((2, 1, 8))}, "it needs x_train and y_train"),
        ({"x_train": np.zeros((2, 8)), "y_train": [0, 1]}, r"float64 \[2, 8\]; it must be uint8"),
        ({"x_train": np.full((2, 1, 8), np.nan), "y_train": [0, 1]}, "NaN"),
        ({"x_train": np.zeros((9, 1, 8)), "y_train": [0] * 9}, "has one class"),
        ({"x_train": np.zeros((0, 1, 8)), "y_train": np.zeros(0, int)}, "x_train .* no inputs"),
        (
            {"x_train": np.zeros((9, 1, 8)), "y_train": [0, 1, 2] * 3, "classes": ["a", "b"]},
            "names 2 classes, but its labels range from 0 to 2",
        ),
    ],
)
def test_invalid_arrays_are_explained(
    tmp_path: Path, arrays: dict[str, object], reason: str
) -> None:
    with pytest.raises(DatasetError, match=reason):
        load_dataset(write_arrays(tmp_path / "some.npz", **arrays))


def test_a_file_without_arrays_is_named(tmp_path: Path) -> None:
    (tmp_path / "some.npz").write_bytes(b"noise")
    with pytest.raises(DatasetError, match=r"some\.npz can't be read as plain arrays"):
        load_dataset(f"npz:{tmp_path / 'some.npz'}")
