"""MNIST and Fashion-MNIST, read from their published IDX files."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torchvision import datasets as published

from convscope.exporter.datasets.augmentation import HANDWRITING, THINGS
from convscope.exporter.datasets.samples import Dataset, Split
from convscope.exporter.errors import DatasetError, HubError

__all__ = ["fashion_mnist", "mnist"]

DIGITS = tuple("0123456789")
GARMENTS = tuple(published.FashionMNIST.classes)
_UINT8 = 8


def mnist(data_dir: Path) -> Dataset:
    """Read 60,000 and 10,000 handwritten digits, 28 by 28 pixels, gray.

    Raises:
        DatasetError: The files can't be read.
        HubError: The files don't exist, and can't be downloaded.
    """
    folder = _folder(data_dir, published.MNIST, ("mnist", "MNIST/raw", "MNIST", "."))
    return Dataset("mnist", DIGITS, _split(folder, "train"), _split(folder, "t10k"), HANDWRITING)


def fashion_mnist(data_dir: Path) -> Dataset:
    """Read 60,000 and 10,000 garments, shoes and bags, 28 by 28 pixels, gray.

    Raises:
        DatasetError: The files can't be read.
        HubError: The files don't exist, and can't be downloaded.
    """
    places = ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "FashionMNIST", ".")
    folder = _folder(data_dir, published.FashionMNIST, places)
    return Dataset(
        "fashion_mnist", GARMENTS, _split(folder, "train"), _split(folder, "t10k"), THINGS
    )


def _folder(data_dir: Path, kind: type[published.MNIST], places: Sequence[str]) -> Path:
    """Find the files in the usual folders, or download them with torchvision."""
    for place in places:
        if _file(data_dir / place, "train-images-idx3-ubyte") is not None:
            return data_dir / place
    try:
        kind(str(data_dir), download=True)
    except (OSError, RuntimeError) as error:
        raise HubError(
            f"{kind.__name__} isn't in {data_dir} and can't be downloaded; put its four "
            "-ubyte.gz files there, or name their folder with --data-dir"
        ) from error
    return data_dir / kind.__name__ / "raw"


def _file(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def _split(folder: Path, name: str) -> Split:
    images = _read(folder, f"{name}-images-idx3-ubyte")  # uint8 [N, H, W]
    labels = _read(folder, f"{name}-labels-idx1-ubyte")  # uint8 [N]
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DatasetError(f"the images and labels of {name} in {folder} don't match")
    return Split(images[..., np.newaxis], labels.astype(np.int64))


def _read(folder: Path, name: str) -> NDArray[np.uint8]:
    """Read an IDX file: two zeros, the type, the number of dimensions, their lengths, the data."""
    path = _file(folder, name)
    if path is None:
        raise DatasetError(f"{folder} lacks {name}.gz")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} is damaged; download it again") from error
    dimensions = data[3] if len(data) > 3 else 0
    start = 4 + 4 * dimensions
    lengths = np.frombuffer(data[4:start], ">u4").tolist() if len(data) >= start else []
    if data[:3] != bytes((0, 0, _UINT8)) or len(data) - start != math.prod(lengths):
        raise DatasetError(f"{path} is no complete IDX file of bytes; download it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(lengths)
