"""The datasets that a network can be trained on."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from convscope.exporter.errors import UnknownNameError

__all__ = ["DATASETS", "Dataset", "Split", "load_dataset"]


@dataclass(frozen=True, slots=True)
class Split:
    """Images and their classes.

    Args:
        images: uint8 [N, H, W, C].
        labels: int64 [N].
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a network learns from, and what it is measured on.

    Args:
        name: The name that a user types.
        labels: The name of each class.
        train: To learn from.
        test: To measure on; nothing is learned or chosen by it.
        augmentation: What may be done to a batch, uint8 [N, C, H, W], without
            making it another class.
    """

    name: str
    labels: tuple[str, ...]
    train: Split
    test: Split
    augmentation: Callable[[Tensor], Tensor] | None = None


def load_dataset(name: str) -> Dataset:
    """Load a dataset.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in DATASETS:
        raise UnknownNameError(f"no dataset {name!r}; there are: {', '.join(sorted(DATASETS))}")
    return DATASETS[name]()


def _mnist_sample() -> Dataset:
    path = resources.files("convscope.exporter") / "data" / "mnist_sample.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        train, test = (
            Split(
                arrays[f"{split}_images"][..., np.newaxis],
                arrays[f"{split}_labels"].astype(np.int64),
            )
            for split in ("train", "test")
        )
    return Dataset("mnist_sample", tuple("0123456789"), train, test, _HANDWRITING)


# As another hand would have written it: turned, moved and scaled a little.
_HANDWRITING = v2.RandomAffine(degrees=10, translate=(0.08, 0.08), scale=(0.9, 1.1))


DATASETS: dict[str, Callable[[], Dataset]] = {"mnist_sample": _mnist_sample}
