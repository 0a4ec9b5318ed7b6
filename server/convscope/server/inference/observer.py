"""The interface through which the engine reports what one version does."""

from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["Observer"]


class Observer(Protocol):
    """Observes one version. Every method is called on the event loop."""

    def predictions(
        self,
        labels: Sequence[str],
        classes: Sequence[Sequence[int]],
        scores: Sequence[Sequence[float]],
        entropy_ratios: Sequence[float],
    ) -> None:
        """Called with the results of some inputs, as in `BatchOutput`, and all class names."""

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
