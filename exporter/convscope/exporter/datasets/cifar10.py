"""CIFAR-10, from its published archive."""

from pathlib import Path

import numpy as np
from torchvision import datasets as published

from convscope.exporter.datasets.augmentation import PHOTOS
from convscope.exporter.datasets.samples import Dataset, Split
from convscope.exporter.errors import HubError

__all__ = ["CIFAR10_LABELS", "cifar10"]

CIFAR10_LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def cifar10(data_dir: Path) -> Dataset:
    """Read 50,000 and 10,000 photos of ten classes, 32 by 32 pixels, RGB.

    Raises:
        HubError: The archive doesn't exist, and can't be downloaded.
    """
    try:
        train, test = (
            published.CIFAR10(str(data_dir), train=train, download=True) for train in (True, False)
        )
    except (OSError, RuntimeError) as error:
        raise HubError(
            f"CIFAR-10 isn't in {data_dir} and can't be downloaded; put cifar-10-python.tar.gz "
            "there, or name its folder with --data-dir"
        ) from error
    splits = [Split(part.data, np.array(part.targets, np.int64)) for part in (train, test)]
    return Dataset("cifar10", CIFAR10_LABELS, splits[0], splits[1], PHOTOS)
