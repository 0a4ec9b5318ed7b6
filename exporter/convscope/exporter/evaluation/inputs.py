"""The labeled inputs of an evaluation: which of a dataset, and one by one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.exporter.datasets import (
    Dataset,
    DatasetOptions,
    ImageFiles,
    Samples,
    load_dataset,
)
from convscope.exporter.errors import DatasetError, reason
from convscope.v1 import manifest_pb2 as pb

__all__ = ["LabeledInputs", "Sample", "SplitName", "select_inputs"]

SplitName = Literal["test", "train", "all"]
# In the description of trained weights.
_SEED = re.compile(r"\bseed (\d+)")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labeled input; either `encoded` or `tensor` is set.

    Args:
        name: The file's path below the dataset, or a number.
        encoded: An encoded image.
        tensor: A tensor, float32 [C, ...].
    """

    name: str
    encoded: bytes | None = None
    tensor: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class LabeledInputs:
    """The inputs of an evaluation with their classes.

    Args:
        dataset: The dataset's name.
        split: What was selected, such as "test split".
        classes: The dataset's classes.
        parts: The samples.
    """

    dataset: str
    split: str
    classes: tuple[str, ...]
    parts: tuple[Samples, ...]

    def __len__(self) -> int:
        return sum(len(part.labels) for part in self.parts)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of each input, int64 [N]."""
        return np.concatenate([part.labels for part in self.parts])

    def read(self, index: int) -> Sample:
        """Read one input.

        Raises:
            DatasetError: Its file can't be read.
        """
        for part in self.parts:
            if index < len(part.labels):
                return _read(part, index)
            index -= len(part.labels)
        raise IndexError(index)


def select_inputs(
    name: str,
    data_dir: Path,
    trained: Sequence[pb.Provenance],
    split: SplitName | None = None,
    seed: int | None = None,
) -> LabeledInputs:
    """Select the inputs of a dataset.

    Args:
        name: The dataset as users write it.
        data_dir: The folder of published datasets.
        trained: The origin of each model that is evaluated.
        split: The split. By default the test split. A dataset of one part is used as a whole,
            unless a model was trained on it or a seed is passed: then its training inputs are
            left out.
        seed: The seed by which a dataset of one part was split; that of the training by default.

    Raises:
        ExporterError: The dataset can't be read, or no split is unseen by all models.
    """
    own_split = _has_own_split(name)
    seeds = _seeds(name, trained)
    if seed is None and split != "all" and not own_split and len(seeds) > 1:
        raise DatasetError(
            f"the models were trained on different parts of {name} (seeds "
            f"{', '.join(map(str, sorted(seeds)))}); evaluate them on other inputs, or choose "
            "one with --seed"
        )
    chosen = seed if seed is not None else max(seeds, default=0)
    data = load_dataset(name, DatasetOptions(data_dir, chosen))
    if split is None:
        split = "test" if own_split or seeds or seed is not None else "all"
    parts = {"test": (data.test,), "train": (data.train,), "all": _all(data)}[split]
    if not sum(len(part.labels) for part in parts):
        raise DatasetError(f"the {split} split of {data.name} has no inputs; use --split all")
    return LabeledInputs(
        data.name, "all inputs" if split == "all" else f"{split} split", data.labels, parts
    )


def _seeds(name: str, trained: Sequence[pb.Provenance]) -> set[int]:
    """Return the seeds with which models were trained on a dataset."""
    known = _recorded_name(name)
    return {
        int(found[-1]) if (found := _SEED.findall(one.weights)) else 0
        for one in trained
        if known in one.dataset.split(", ")
    }


def _recorded_name(name: str) -> str:
    """Return the name of a dataset in the provenance of a model that was trained on it."""
    kind, separator, path = name.partition(":")
    return f"{kind}:{Path(path).resolve().name}" if separator else name


def _all(data: Dataset) -> tuple[Samples, ...]:
    return tuple(filter(None, (data.train, data.validation, data.test)))


def _has_own_split(name: str) -> bool:
    """Return whether the dataset itself states which inputs are for tests."""
    kind, _, path = name.partition(":")
    if kind == "folder":
        return (Path(path) / "test").is_dir()
    if kind == "npz" and Path(path).is_file():
        with np.load(path, allow_pickle=False) as arrays:
            return "x_test" in arrays.files
    return True


def _read(part: Samples, index: int) -> Sample:
    if isinstance(part, ImageFiles):
        path = part.paths[index]
        try:
            return Sample("/".join(path.parts[-2:]), encoded=path.read_bytes())
        except OSError as error:
            raise DatasetError(f"{path} can't be read: {reason(error)}") from error
    values = part.inputs[index]
    name = f"input {index}"
    if values.dtype == np.uint8:
        return Sample(name, encoded=_png(values))
    return Sample(name, tensor=values)


def _png(pixels: NDArray[Any]) -> bytes:
    """Encode uint8 [H, W, C] without loss."""
    out = BytesIO()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()
