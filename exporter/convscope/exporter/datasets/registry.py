"""Finds a dataset by the name that a user types."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from convscope.exporter.datasets.augmentation import HANDWRITING
from convscope.exporter.datasets.cifar10 import CIFAR10_LABELS, cifar10
from convscope.exporter.datasets.files import image_folder, npz_file
from convscope.exporter.datasets.idx import DIGITS, GARMENTS, fashion_mnist, mnist
from convscope.exporter.datasets.samples import Dataset, Split
from convscope.exporter.errors import UnknownNameError

__all__ = ["DATASETS", "LABELS", "DatasetOptions", "load_dataset"]


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """The options of datasets.

    Args:
        data_dir: The folder of published datasets, into which missing ones are downloaded.
        seed: The seed by which a dataset without a test split is split.
    """

    data_dir: Path = Path("data")
    seed: int = 0


def load_dataset(name: str, options: DatasetOptions | None = None) -> Dataset:
    """Load a dataset.

    Args:
        name: One of DATASETS, `folder:PATH` or `npz:FILE`.
        options: Its folder, and the seed of its split.

    Raises:
        UnknownNameError: No dataset has that name.
        DatasetError: The dataset can't be read.
        HubError: The dataset can't be downloaded.
    """
    options = options or DatasetOptions()
    kind, _, path = name.partition(":")
    if path and kind in _CUSTOM:
        return _CUSTOM[kind](Path(path), options.seed)
    if name not in DATASETS:
        if Path(name).exists():
            wanted = "folder" if Path(name).is_dir() else "npz"
            raise UnknownNameError(f"no dataset {name!r}; write {wanted}:{name} for this path")
        known = ", ".join((*sorted(DATASETS), "folder:PATH", "npz:FILE"))
        raise UnknownNameError(f"no dataset {name!r}; available: {known}")
    return DATASETS[name](options.data_dir)


def _mnist_sample(data_dir: Path) -> Dataset:
    path = resources.files("convscope.exporter") / "data" / "mnist_sample.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        train, test = (
            Split(
                arrays[f"{split}_images"][..., np.newaxis],
                arrays[f"{split}_labels"].astype(np.int64),
            )
            for split in ("train", "test")
        )
    return Dataset("mnist_sample", DIGITS, train, test, HANDWRITING)


_CUSTOM: dict[str, Callable[[Path, int], Dataset]] = {"folder": image_folder, "npz": npz_file}

DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "cifar10": cifar10,
    "fashion_mnist": fashion_mnist,
    "mnist": mnist,
    "mnist_sample": _mnist_sample,
}
LABELS = {
    "cifar10": CIFAR10_LABELS,
    "fashion_mnist": GARMENTS,
    "mnist": DIGITS,
    "mnist_sample": DIGITS,
}
