"""Training by several processes: that they have the same run, and what each of them did."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from reprlib import repr as short
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import distributed, nn

from convscope.exporter.errors import DatasetError, RunError
from convscope.exporter.training.splits import Splits

__all__ = [
    "SharedRun",
    "check_agreement",
    "check_shares",
    "lost_process_as_error",
    "weights_digest",
]


class SharedRun(Callback):
    """Checks that all processes of a run have the same settings, and reports their shares.

    Args:
        settings: What must be the same in all processes.
        inputs: The number of training inputs.
        report: Prints a line.
    """

    def __init__(
        self, settings: Mapping[str, Any], inputs: int, report: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._inputs = inputs
        self._report = report

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Called when the processes have found each other, before anything is trained.

        Raises:
            RunError: A process has other settings.
        """
        check_agreement(_gather(dict(self._settings), trainer.world_size))

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Called after the last epoch."""
        processes, rank = trainer.world_size, trainer.global_rank
        digests = _gather(weights_digest(pl_module), processes)
        share = f"{math.ceil(self._inputs / processes):,} of {self._inputs:,} inputs in each epoch"
        if rank:
            self._report(
                f"process {rank} trained on {share}, and ends with the weights {digests[rank]}; "
                "process 0 publishes the model"
            )
            return
        self._report(f"processes {processes}, each trained on {share}; weights {digests[0]}")
        if different := [str(n) for n, digest in enumerate(digests) if digest != digests[0]]:
            self._report(
                f"the weights of process {', '.join(different)} differ from these, which are "
                "published; processors of different kinds may round differently"
            )


def check_agreement(settings: Sequence[Mapping[str, Any]]) -> None:
    """Check that all processes have the settings of process 0.

    Args:
        settings: Those of each process.

    Raises:
        RunError: A setting differs.
    """
    for rank, own in enumerate(settings):
        for name, value in settings[0].items():
            if own[name] != value:
                raise RunError(
                    f"process {rank} has {name.replace('_', ' ')} {short(own[name])}, but process "
                    f"0 has {short(value)}; start all processes with the same options, the same "
                    "dataset and, to resume, the same run"
                )


def check_shares(splits: Splits, processes: int) -> None:
    """Check that there is a validation input for each process.

    Raises:
        DatasetError: There are fewer.
    """
    validation = len(splits.validation.labels)
    if validation < processes:
        raise DatasetError(
            f"there are {validation} validation inputs, which {processes} processes can't share; "
            "use fewer --devices and --nodes, or add inputs"
        )


@contextmanager
def lost_process_as_error() -> Iterator[None]:
    """Raise a RunError if another process of the run can't be reached, or has ended."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise RunError(
            "another process of the run can't be reached or has ended; see its output, and "
            "continue with --resume on all machines"
        ) from error


def weights_digest(network: nn.Module) -> str:
    """Return a digest of the parameters and buffers of a network, by which equal ones are known."""
    digest = sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _gather(value: Any, processes: int) -> list[Any]:
    """Return the values of all processes, in the order of their ranks."""
    values: list[Any] = [None] * processes
    distributed.all_gather_object(values, value)
    return values
