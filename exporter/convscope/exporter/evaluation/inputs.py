"""The labeled inputs of an evaluation: which of a dataset, and one by one."""

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
from convscope.exporter.datasets.content import content_hashes, dataset_digest, digest_of
from convscope.exporter.errors import DatasetError, reason
from convscope.exporter.evaluation.seen_inputs import (
    notes_on_training,
    recorded_name,
    warning_of_unknown_training,
    without_seen,
)
from convscope.exporter.evaluation.trained_on import TrainedOn

__all__ = ["LabeledInputs", "Sample", "SplitName", "select_inputs"]

SplitName = Literal["test", "train", "all"]


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
        location: The dataset as users write it, with an absolute path.
        notes: Which of its inputs the training has seen, in sentences.
        warning: A sentence if that isn't known.
        digest: A digest of the inputs with their classes, in their order.
    """

    dataset: str
    split: str
    classes: tuple[str, ...]
    parts: tuple[Samples, ...]
    location: str = ""
    notes: tuple[str, ...] = ()
    warning: str | None = None
    digest: str = ""

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
    trained: Sequence[TrainedOn] = (),
    split: SplitName | None = None,
    seed: int | None = None,
) -> LabeledInputs:
    """Select the inputs of a dataset, and leave out those that a training has seen.

    Args:
        name: The dataset as users write it.
        data_dir: The folder of published datasets.
        trained: What each model that is evaluated was trained on.
        split: The split. By default the test split. A dataset of one part is used as a whole,
            unless a model was trained on it or a seed is passed. Training inputs are counted
            only if the split is "train" or "all".
        seed: The seed by which a dataset of one part was split; that of the training by default.

    Raises:
        ExporterError: The dataset can't be read, or no input is unseen by all models.
    """
    own_split = _has_own_split(name)
    same = [one for one in trained if _is_dataset_of(one, name, data_dir)]
    seeds = {one.seed for one in same}
    unclear = seed is None and not own_split and len(seeds) > 1
    if unclear and split != "all" and (split or any(one.seen is None for one in same)):
        raise DatasetError(
            f"the models were trained on different parts of {name} (seeds "
            f"{', '.join(map(str, sorted(seeds)))}); evaluate them on other inputs, or choose "
            "one with --seed"
        )
    data = load_dataset(name, DatasetOptions(data_dir, _chosen(seed, seeds)))
    counts_seen = split in ("train", "all")
    if split is None:
        split = "test" if own_split or len(seeds) == 1 or seed is not None else "all"
    parts = {"test": (data.test,), "train": (data.train,), "all": _all(data)}[split]
    if not sum(len(part.labels) for part in parts):
        raise DatasetError(f"the {split} split of {data.name} has no inputs; use --split all")
    seen = frozenset[str]().union(*(one.seen or () for one in trained))
    hashes = [content_hashes(part) for part in parts]
    number = sum(one in seen for part in hashes for one in part)
    if not counts_seen:
        parts = tuple(
            without_seen(part, own, seen) for part, own in zip(parts, hashes, strict=True)
        )
        hashes = [[one for one in own if one not in seen] for own in hashes]
    if not sum(map(len, hashes)):
        raise DatasetError(
            f"the training has seen all {number:,} inputs; evaluate on others, or use --split all"
        )
    return LabeledInputs(
        data.name,
        _title(split, leaves_out=number > 0 and not counts_seen),
        data.labels,
        parts,
        location=_location(name),
        notes=tuple(notes_on_training(name, trained, same, number, counts_seen)),
        warning=warning_of_unknown_training(name, trained, same),
        digest=_digest(data.labels, parts, hashes),
    )


def _title(split: SplitName, leaves_out: bool) -> str:
    if split == "all":
        return "unseen inputs" if leaves_out else "all inputs"
    return f"{split} split"


def _chosen(seed: int | None, seeds: set[int]) -> int:
    return seed if seed is not None else max(seeds, default=0)


def _is_dataset_of(model: TrainedOn, name: str, data_dir: Path) -> bool:
    """Return whether a model was trained on a dataset."""
    if model.digest is not None and ":" in name:
        if not model.shares_kind(name):
            return False
        data = load_dataset(name, DatasetOptions(data_dir, model.seed))
        return dataset_digest(data) == model.digest
    # Earlier bundles record the name alone.
    return recorded_name(name) in model.datasets


def _digest(
    classes: Sequence[str], parts: Sequence[Samples], hashes: Sequence[Sequence[str]]
) -> str:
    return digest_of(
        [
            f"{classes[label]} {one}"
            for part, own in zip(parts, hashes, strict=True)
            for label, one in zip(part.labels, own, strict=True)
        ]
    )


def _location(name: str) -> str:
    kind, separator, path = name.partition(":")
    return f"{kind}:{Path(path).resolve()}" if separator else name


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
