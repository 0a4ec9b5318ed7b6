"""Cuts batches from arrays, in an order that depends only on the seed and the epoch."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from convscope.exporter.datasets import Split

__all__ = ["test_loader", "training_loader"]

VALIDATION_BATCH = 250


def training_loader(
    split: Split, batch_size: int, *, seed: int, rank: int, processes: int
) -> DataLoader[Any]:
    """Return one process's batches; those of all processes together have `batch_size` inputs."""
    share = max(1, batch_size // processes)
    order = _Shuffled(len(split.labels), share, seed=seed, rank=rank, processes=processes)
    return DataLoader(_Batches(split), batch_size=None, sampler=order)


def test_loader(split: Split, *, rank: int, processes: int) -> DataLoader[Any]:
    """Return every input once, in order; each process gets its share."""
    order = _Ordered(len(split.labels), rank=rank, processes=processes)
    return DataLoader(_Batches(split), batch_size=None, sampler=order)


class _Batches(Dataset[tuple[Tensor, Tensor]]):
    """Cuts whole batches from the arrays, which is ten times as fast as single inputs."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __getitem__(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        inputs = torch.from_numpy(self._split.inputs[indices])
        if inputs.dtype == torch.uint8:
            inputs = inputs.permute(0, 3, 1, 2)  # [N, C, H, W]
        return inputs, torch.from_numpy(self._split.labels[indices])


class _Shuffled(Sampler[NDArray[np.int64]]):
    """Batches of indices, shuffled in each epoch, the same number for each process."""

    def __init__(
        self, inputs: int, batch_size: int, *, seed: int, rank: int, processes: int
    ) -> None:
        self._inputs = inputs
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._processes = processes
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning when an epoch begins, to choose its order."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self._share() / self._batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        order = np.random.default_rng([self._seed, self._epoch]).permutation(self._inputs)
        # The first indices are repeated, so that every process has the same number of batches.
        own = np.resize(order, self._share() * self._processes)[self._rank :: self._processes]
        # Equal sizes: a last batch of one image would spoil the statistics of batch norm.
        yield from np.array_split(own, len(self))

    def _share(self) -> int:
        return math.ceil(self._inputs / self._processes)


class _Ordered(Sampler[NDArray[np.int64]]):
    def __init__(self, inputs: int, *, rank: int, processes: int) -> None:
        self._own = np.arange(rank, inputs, processes)

    def __len__(self) -> int:
        return math.ceil(len(self._own) / VALIDATION_BATCH)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for start in range(0, len(self._own), VALIDATION_BATCH):
            yield self._own[start : start + VALIDATION_BATCH]
