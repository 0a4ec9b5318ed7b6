"""The interface through which the engine reports what one version does."""

from collections.abc import Callable, Sequence
from typing import Protocol

import grpc

from convscope.server.observability.stages import StageSeconds

__all__ = ["Observer"]


class Observer(Protocol):
    """Observes one version. Every method is called on the event loop."""

    def requests(
        self, codes: Sequence[grpc.StatusCode], seconds: Sequence[float], bulk: Sequence[bool]
    ) -> None:
        """Called with requests that ended: how, after how long, and whether they are bulk."""

    def predictions(
        self, best: Sequence[str], probabilities: Sequence[float], entropy_ratios: Sequence[float]
    ) -> None:
        """Called with the best class of some inputs, its probability, and how undecided they are.

        Inputs whose probabilities have another sum than 1 have no entropy ratio.
        """

    def stages(self, seconds: Sequence[StageSeconds], encode_seconds: Sequence[float]) -> None:
        """Called with the stages of answered inputs, when their requests end."""

    def batch(self, images: int) -> None:
        """Called with the size of each batch that ran."""

    def load(
        self,
        waiting: Callable[[], int],
        fill_ratio: Callable[[], float],
        running: Callable[[], int],
    ) -> None:
        """Set the functions that report the current load.

        Args:
            waiting: Returns the number of waiting images, over all queues.
            fill_ratio: Returns the fill level of the fullest queue.
            running: Returns the number of running batches.
        """
