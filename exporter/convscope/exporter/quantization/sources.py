"""Finds the inputs that a user names: labeled or not, in a folder, a file or a known dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.datasets import ImageFiles, Samples, load_dataset
from convscope.exporter.datasets.files import SUFFIXES, load_arrays
from convscope.exporter.errors import DatasetError

__all__ = ["Source", "read_source"]

_UNLABELED = "x"


@dataclass(frozen=True, slots=True)
class Source:
    """Inputs that aren't read yet.

    Args:
        name: The dataset's name, without the path.
        items: Files of images, or arrays.
        classes: The names of the classes; None without labels.
        labels: The class of each input, int64 [n]; None without labels.
        test: The inputs of the test split, if the dataset has its own.
    """

    name: str
    items: Sequence[Path | NDArray[Any]]
    classes: tuple[str, ...] | None = None
    labels: NDArray[np.int64] | None = None
    test: "Source | None" = None

    def __len__(self) -> int:
        return len(self.items)

    def shuffled(self) -> "Source":
        """Return the inputs in an order that is random and always the same."""
        return self._chosen(np.random.default_rng(0).permutation(len(self)))

    def part(self, start: int, stop: int) -> "Source":
        """Return the inputs from one position to another."""
        return self._chosen(np.arange(start, min(stop, len(self))))

    def _chosen(self, indices: NDArray[np.int64]) -> "Source":
        items = [self.items[index] for index in indices]
        labels = None if self.labels is None else self.labels[indices]
        return Source(self.name, items, self.classes, labels)


def read_source(location: str) -> Source:
    """Find the inputs of a dataset.

    Args:
        location: `folder:PATH`, with images in it or in one folder per class; `npz:FILE`, with
            the array x, or as for training; or the name of a published dataset.

    Raises:
        DatasetError: There is no such folder or file, or it has no inputs.
        UnknownNameError: No dataset has that name.
    """
    kind, _, path = location.partition(":")
    if kind == "folder" and path:
        return _folder(Path(path))
    if kind == "npz" and path:
        arrays = load_arrays(Path(path))
        if _UNLABELED in arrays:
            return _unlabeled(location, arrays[_UNLABELED])
        has_test = "x_test" in arrays
    else:
        has_test = True
    data = load_dataset(location)
    train = _labeled(data.name, data.labels, data.train)
    test = _labeled(data.name, data.labels, data.test)
    return replace(train, test=test) if has_test else _together(train, test)


def _together(first: Source, second: Source) -> Source:
    """Return the inputs of two parts of the same dataset."""
    labels = [one.labels for one in (first, second) if one.labels is not None]
    items = [*first.items, *second.items]
    return Source(first.name, items, first.classes, np.concatenate(labels))


def _folder(folder: Path) -> Source:
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {str(folder)!r}")
    name = f"folder:{folder.resolve().name}"
    if not (folder / "train").is_dir():
        return _images(name, folder)
    train = _images(name, folder / "train")
    test = _images(name, folder / "test") if (folder / "test").is_dir() else None
    return replace(train, test=test)


def _images(name: str, folder: Path) -> Source:
    """Return the images of a folder; those in a subfolder have its name as their class."""
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not paths:
        raise DatasetError(
            f"{folder} has no images; put some into it as {', '.join(SUFFIXES)}, directly or in "
            "one folder per class"
        )
    owners = [path.relative_to(folder).parts[0] for path in paths]
    if any(path.parent == folder for path in paths):
        return Source(name, paths)
    classes = tuple(sorted(set(owners)))
    numbers = {owner: number for number, owner in enumerate(classes)}
    return Source(name, paths, classes, np.array([numbers[owner] for owner in owners], np.int64))


def _unlabeled(location: str, values: NDArray[Any]) -> Source:
    name = f"npz:{Path(location.partition(':')[2]).name}"
    if values.dtype == np.uint8 and values.ndim == 3:
        values = values[..., np.newaxis]
    if values.ndim < 3 or not len(values):
        raise DatasetError(
            f"x of {name} is {values.dtype} {list(values.shape)}; it must be uint8 [N, H, W, C] or "
            "float [N, C, ...]"
        )
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise DatasetError(f"x of {name} has NaN or infinite values")
    return Source(name, list(values))


def _labeled(name: str, classes: tuple[str, ...], samples: Samples) -> Source:
    items: Sequence[Any] = (
        samples.paths if isinstance(samples, ImageFiles) else list(samples.inputs)
    )
    return Source(name, items, classes, samples.labels)
