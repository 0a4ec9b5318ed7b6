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
    """

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.joined: set[int] = set()
        self._overrides: dict[str, Overrides] = {}

    def of(self, model: str) -> Overrides:
        """Return what operators changed of a model, to be changed when a worker has accepted it."""
        return self._overrides.setdefault(model, Overrides())

    def to_json(self) -> dict[str, Any]:
        """Return the changes of all models as plain values, for a worker that starts."""
        return {model: overrides.to_json() for model, overrides in self._overrides.items()}

    def join(self, index: int) -> dict[str, Any]:
        """Return the changes for a worker that has loaded; it takes further ones from now on."""
        self.joined.add(index)
        return self.to_json()

    def leave(self, index: int) -> None:
        """Note that a worker has ended."""
        self.joined.discard(index)
