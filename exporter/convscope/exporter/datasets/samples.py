"""The content of a dataset, and its conversion to a network's input."""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.exporter.datasets.augmentation import Augmentation
from convscope.exporter.errors import DatasetError, ExporterError
from convscope.exporter.preprocessing import ImagePreprocessing, InputRule

__all__ = ["Dataset", "ImageFiles", "Samples", "Split", "prepare", "split_by_seed"]

# Above this, prepared images are stored in a file that is mapped into memory.
MAX_MEMORY_BYTES = 2**30
DECODERS = 4
TEST_FRACTION = 0.2


@dataclass(frozen=True, slots=True)
class Split:
    """Inputs with their classes.

    Args:
        inputs: Images, uint8 [N, H, W, C], or tensors, float32 [N, C, ...].
        labels: int64 [N].
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Encoded images with their classes.

    Args:
        paths: The files.
        labels: int64 [N].
    """

    paths: Sequence[Path]
    labels: NDArray[np.int64]


Samples = Split | ImageFiles


@dataclass(frozen=True, slots=True)
class Dataset:
    """The training and test samples of a network.

    Args:
        name: The name that a user types.
        labels: The name of each class.
        train: The training samples.
        test: The test samples, by which nothing is trained or chosen.
        augmentation: Alterations that don't change the class of an image.
        validation: The samples by which the published epoch is chosen; None if
            they are to be held back from the training samples.
    """

    name: str
    labels: tuple[str, ...]
    train: Samples
    test: Samples
    augmentation: Augmentation | None = None
    validation: Samples | None = None

    @property
    def holds_images(self) -> bool:
        """Whether the samples are images."""
        return isinstance(self.train, ImageFiles) or self.train.inputs.dtype == np.uint8

    @property
    def channels(self) -> int:
        """The number of channels of the inputs; image files have 3."""
        if isinstance(self.train, ImageFiles):
            return 3
        shape: tuple[int, ...] = self.train.inputs.shape
        return shape[-1] if self.holds_images else shape[1]


def prepare(
    samples: Samples, expects: InputRule, *, strict: bool, warn: Callable[[str], None]
) -> Split:
    """Convert samples to a network's input.

    Args:
        samples: The samples.
        expects: The network's input.
        strict: Whether an unreadable image is an error; otherwise it is skipped.
        warn: Called with a message for each skipped image.

    Raises:
        DatasetError: The samples don't suit the network, or can't be read.
    """
    if isinstance(samples, ImageFiles):
        return _read_files(samples, _images_only(expects), strict, warn)
    found = samples.inputs.shape[1:]
    if found == expects.shape:
        return samples
    if samples.inputs.dtype != np.uint8:
        raise DatasetError(
            f"the dataset's tensors are {list(found)}, but the network takes {list(expects.shape)}"
        )
    rule = _images_only(expects)
    resized = _allocate(len(samples.inputs), rule)
    for index, pixels in enumerate(samples.inputs):
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        resized[index] = rule.prepare_image(image)
    return Split(resized, samples.labels)


def split_by_seed(
    labels: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split off a fifth of each class; return the sorted indices of the rest and of the fifth.

    The only input of a class stays in the rest.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        own = order[labels[order] == label]
        count = max(1, round(TEST_FRACTION * len(own))) if len(own) > 1 else 0
        test[own[:count]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)


def _images_only(expects: InputRule) -> ImagePreprocessing:
    if isinstance(expects, ImagePreprocessing):
        return expects
    raise DatasetError(
        f"the dataset has images, but the network takes tensors {list(expects.shape)}; "
        "pass arrays with --dataset npz:FILE"
    )


def _read_files(
    files: ImageFiles, rule: ImagePreprocessing, strict: bool, warn: Callable[[str], None]
) -> Split:
    prepared = _allocate(len(files.paths), rule)
    readable = np.ones(len(files.paths), bool)

    def read(index: int) -> None:
        path = files.paths[index]
        try:
            prepared[index] = rule.prepare(path.read_bytes())
        except (OSError, ExporterError) as error:
            if strict:
                raise DatasetError(
                    f"{path} can't be read as an image; replace or remove it"
                ) from error
            readable[index] = False
            warn(f"{path} can't be read as an image and is skipped")

    with ThreadPoolExecutor(DECODERS) as pool:
        list(pool.map(read, range(len(files.paths))))
    if readable.all():
        return Split(prepared, files.labels)
    if len(set(files.labels[readable])) != len(set(files.labels)):
        raise DatasetError("a class has no readable image; replace its files")
    return Split(prepared[readable], files.labels[readable])


def _allocate(count: int, rule: ImagePreprocessing) -> NDArray[np.uint8]:
    shape = (count, *rule.shape)
    if np.prod(shape) <= MAX_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    # The file has no name, so it disappears with the process.
    with tempfile.TemporaryFile(prefix="convscope-") as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)
