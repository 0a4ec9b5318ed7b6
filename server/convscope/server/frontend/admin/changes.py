"""What operators changed in the workers, which have it in memory only."""

import asyncio
from typing import Any

from convscope.server.repository.desired import Overrides

__all__ = ["OperatorChanges"]


class OperatorChanges:
    """The changes of operators, and the workers that take further ones.

    A worker that starts gets the changes with its settings, before it loads. When it has loaded,
    it gets those that were made meanwhile, before it accepts connections, and takes further ones
    itself from then on (`join`). So no change is lost, and no worker serves without one.

    Attributes:
        turn: Held by one change at a time, so that all workers make them in the same order.
        joined: The indexes of the workers that take changes.
        count: The number of changes so far. Some, such as a second load, leave no other trace here,
            and can concern a worker that has loaded before.
    """

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.joined: set[int] = set()
        self.count = 0
        self._overrides: dict[str, Overrides] = {}

    def change(self, model: str) -> Overrides:
        """Count a change that a worker has made; return what operators changed of its model."""
        self.count += 1
        return self._overrides.setdefault(model, Overrides())

    def to_json(self) -> dict[str, Any]:
        """Return the changes of all models as plain values, for a worker that starts."""
        return {model: overrides.to_json() for model, overrides in self._overrides.items()}

    def join(self, index: int, since: int) -> dict[str, Any] | None:
        """Note that a worker has loaded; it takes further changes from now on.

        Args:
            index: The worker.
            since: The number of changes that it got with its settings.

        Returns:
            The changes of all models; None if there are no further ones.
        """
        self.joined.add(index)
        return None if self.count == since else self.to_json()

    def leave(self, index: int) -> None:
        """Note that a worker has ended."""
        self.joined.discard(index)
