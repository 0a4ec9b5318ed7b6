"""The processes of a bulk run, and the share of the cluster that each gets."""

import math
from dataclasses import dataclass

from convscope.client import InvalidInputError

__all__ = ["Share", "Workers"]


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
        self._check_gpus(gpus)
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

    def _check_gpus(self, gpus: float) -> None:
        """Check that a cluster has the GPUs."""
        each = f"--gpus-per-actor {self.gpus:g}"
        if self.gpus and not gpus:
            raise InvalidInputError(f"{each} needs a GPU; the cluster has none")
        if self.gpus * (self.actors or 1) > gpus:
            actors = f"--actors {self.actors} with " if self.actors else ""
            raise InvalidInputError(
                f"{actors}{each} needs more than the {gpus:g} GPU{'' if gpus == 1 else 's'} of "
                "the cluster; give fewer"
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
