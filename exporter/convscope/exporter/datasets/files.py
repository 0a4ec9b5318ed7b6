"""A user's datasets: a folder of images, or a file of arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.datasets.augmentation import PHOTOS
from convscope.exporter.datasets.samples import Dataset, ImageFiles, Split, split_by_seed
from convscope.exporter.errors import DatasetError

__all__ = ["SUFFIXES", "image_folder", "load_arrays", "npz_file"]

# The formats that the server decodes.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
MIN_CLASSES = 2
_TENSOR_DIMENSIONS = (3, 5)  # [N, C, L], [N, C, T, H, W]


def image_folder(folder: Path, seed: int) -> Dataset:
    """Read images from one folder per class.

    The classes are located in `folder` or in `folder/train`. The validation and the
    test split are in `val/` and `test/` next to `train/`. Without `test/`, a fifth of
    each class of the training inputs becomes the test split, chosen by a seed.

    Raises:
        DatasetError: The folder doesn't have images of two classes or more.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {str(folder)!r}")
    present = [name for name in ("train", "val", "test") if (folder / name).is_dir()]
    if present and "train" not in present:
        raise DatasetError(
            f"{folder} has {present[0]}/ but no train/; add it, or put all images into one folder "
            "per class"
        )
    source = folder / "train" if "train" in present else folder
    labels, files = _classes(source)
    name = f"folder:{folder.resolve().name}"
    own = {split: _own_split(folder / split, labels) for split in present if split != "train"}
    validation = own.get("val")
    if "test" in own:
        return Dataset(name, labels, files, own["test"], PHOTOS, validation)
    train, test = split_by_seed(files.labels, seed)
    return Dataset(name, labels, _subset(files, train), _subset(files, test), PHOTOS, validation)


def npz_file(path: Path, seed: int) -> Dataset:
    """Read the arrays x_train, y_train, x_test, y_test and, with the class names, classes.

    Inputs are images, uint8 [N, H, W] or [N, H, W, C], signals, float [N, C, L],
    or clips, float [N, C, T, H, W]; y is the number of the class, int [N]. Without
    x_test, a fifth of each class becomes the test split, chosen by a seed. With
    x_val and y_val, these are the validation split.

    Raises:
        DatasetError: The file can't be read, or its arrays are invalid.
    """
    arrays = load_arrays(path)
    if "x_train" not in arrays or "y_train" not in arrays:
        raise DatasetError(
            f"{path.name} has {', '.join(arrays) or 'no arrays'}; it needs x_train and y_train"
        )
    train = _split(arrays, "train", path)
    validation = _split(arrays, "val", path) if "x_val" in arrays else None
    if "x_test" in arrays:
        test = _split(arrays, "test", path)
    else:
        train_indices, test_indices = split_by_seed(train.labels, seed)
        test = Split(train.inputs[test_indices], train.labels[test_indices])
        train = Split(train.inputs[train_indices], train.labels[train_indices])
    labels = _label_names(arrays, [train, test, *filter(None, [validation])], path)
    return Dataset(f"npz:{path.name}", labels, train, test, validation=validation)


def _classes(folder: Path) -> tuple[tuple[str, ...], ImageFiles]:
    classes = {
        entry.name: _images(entry)
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if not any(classes.values()):
        raise DatasetError(
            f"{folder} has no folders with images; put those of each class into "
            f"{folder}/CLASS/ as {', '.join(SUFFIXES)}"
        )
    if empty := [name for name, images in classes.items() if not images]:
        raise DatasetError(
            f"the class {empty[0]!r} in {folder} has no images; add some or remove it"
        )
    if len(classes) < MIN_CLASSES:
        raise DatasetError(
            f"{folder} has one class, {next(iter(classes))!r}; a classifier needs two or more"
        )
    paths = [path for images in classes.values() for path in images]
    labels = [index for index, images in enumerate(classes.values()) for _ in images]
    return tuple(classes), ImageFiles(paths, np.array(labels, np.int64))


def _images(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _own_split(folder: Path, labels: tuple[str, ...]) -> ImageFiles:
    found, files = _classes(folder)
    if unknown := sorted(set(found) - set(labels)):
        raise DatasetError(
            f"{folder.name}/ has the class {unknown[0]!r}, but train/ doesn't; add or remove it"
        )
    positions = np.array([labels.index(name) for name in found], np.int64)
    return ImageFiles(files.paths, positions[files.labels])


def _subset(files: ImageFiles, indices: NDArray[np.int64]) -> ImageFiles:
    return ImageFiles([files.paths[index] for index in indices], files.labels[indices])


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a file.

    Raises:
        DatasetError: There is no such file, or it has no plain arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError as error:
        raise DatasetError(f"there is no file {str(path)!r}") from error
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise DatasetError(
            f"{path} can't be read as plain arrays; write it with numpy.savez"
        ) from error


def _split(arrays: dict[str, NDArray[Any]], name: str, path: Path) -> Split:
    inputs, labels = arrays[f"x_{name}"], arrays.get(f"y_{name}")
    classes = _class_numbers(labels, len(inputs), name, path)
    if not len(inputs):
        raise DatasetError(f"x_{name} of {path.name} has no inputs; add some, or leave it out")
    if inputs.dtype == np.uint8 and inputs.ndim in (3, 4):
        images = inputs if inputs.ndim == 4 else inputs[..., np.newaxis]
        return Split(images, classes)
    if inputs.dtype.kind != "f" or inputs.ndim not in _TENSOR_DIMENSIONS:
        raise DatasetError(
            f"x_{name} of {path.name} is {inputs.dtype} {list(inputs.shape)}; it must be uint8 "
            "[N, H, W, C], float [N, C, L] or float [N, C, T, H, W]"
        )
    if not np.isfinite(inputs).all():
        raise DatasetError(f"x_{name} of {path.name} has NaN or infinite values")
    return Split(inputs.astype(np.float32), classes)


def _class_numbers(
    labels: NDArray[Any] | None, count: int, name: str, path: Path
) -> NDArray[np.int64]:
    """Return the number of each input's class, int64 [N]."""
    needed = f"y_{name} of {path.name} must have one integer for each of the {count} inputs"
    if labels is None:
        raise DatasetError(f"{needed}, but the file has no y_{name}")
    fix = ""
    if labels.ndim == 2 and len(labels) == count:
        fix = "; of one-hot rows, these are y.argmax(axis=1)"
    elif labels.ndim == 1 and len(labels) == count:
        fix = "; of class names, these are np.unique(y, return_inverse=True)[1]"
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DatasetError(f"{needed}, but it is {labels.dtype} {list(labels.shape)}{fix}")
    return labels.astype(np.int64)


def _label_names(
    arrays: dict[str, NDArray[Any]], splits: Sequence[Split], path: Path
) -> tuple[str, ...]:
    seen = np.concatenate([split.labels for split in splits])
    count = int(seen.max()) + 1
    names = (
        tuple(map(str, arrays["classes"])) if "classes" in arrays else tuple(map(str, range(count)))
    )
    if int(seen.min()) < 0 or count > len(names):
        raise DatasetError(
            f"{path.name} names {len(names):,} classes, but its labels range from {seen.min()} to "
            f"{seen.max()}"
        )
    if len(names) < MIN_CLASSES:
        raise DatasetError(f"{path.name} has one class; a classifier needs two or more")
    return names
