"""The processes of a bulk run, and the share of the cluster that each gets."""

import logging
import math
import os
from dataclasses import dataclass
from typing import Any

import ray

from convscope.client import InvalidInputError, UnavailableError

__all__ = ["Share", "Workers", "connect"]


@dataclass(frozen=True)
class Workers:
    """The processes that a run asks for.

    Args:
        actors: How many classify; None for as many as there is room for.
        cpus: How many cores each uses.
        gpus: How many GPUs each gets.
        batch_size: How many images it gets at once.
    """

    actors: int | None
    cpus: int
    gpus: float
    batch_size: int

    def share(self, cpus: float, gpus: float, largest: float) -> "Share":
        """Divide a cluster.

        Actors keep their CPUs until the end of a run. If they got all, no task could read an
        image, and the run would wait forever (https://github.com/ray-project/ray/issues/44687).

        Args:
            cpus: The CPUs of the cluster.
            gpus: Its GPUs.
            largest: The CPUs of its largest machine.

        Raises:
            InvalidInputError: There are too few GPUs, or no machine has room for an actor.
        """
        if self.cpus > largest:
            raise InvalidInputError(
                f"--cpus-per-actor {self.cpus} is more than the {largest:g} CPUs of the largest "
                "machine of the cluster; give fewer"
            )
        if self.gpus * (self.actors or 1) > gpus:
            raise InvalidInputError(
                f"--actors {self.actors or 1} with --gpus-per-actor {self.gpus:g} need more than "
                f"the {gpus:g} GPUs of the cluster"
            )
        # Less than for an actor, or Ray would fuse both steps, and reading would stop classifying.
        reader = min(0.5, cpus / 4)
        # So many tasks read at once that they keep up with the actors of a large cluster.
        left = cpus - max(reader, cpus / 8)
        room = gpus // self.gpus if self.gpus else left // self.cpus
        actors = self.actors or max(1, int(room))
        each = min(self.cpus, left / actors)
        # Ray accepts fractions of one CPU with four digits, and whole ones.
        return Share(
            actors, math.floor(each) if each >= 1 else math.floor(each * 1e4) / 1e4, reader
        )


@dataclass(frozen=True)
class Share:
    """What Ray reserves.

    Args:
        actors: How many actors there are.
        actor_cpus: The CPUs of each.
        reader_cpus: The CPUs of a task that reads images.
    """

    actors: int
    actor_cpus: float
    reader_cpus: float


def connect() -> None:
    """Connect to the cluster of RAY_ADDRESS, or start one that only this machine reaches.

    Raises:
        UnavailableError: There is no cluster, or Ray doesn't start.
    """
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {} if address else {"address": "local", "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises some that have no other class
        action = f"connect to RAY_ADDRESS={address}" if address else "start"
        raise UnavailableError(f"Ray can't {action}: {error}") from error
    # A run reports its own progress and the message of an error, without Ray's tracebacks.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
