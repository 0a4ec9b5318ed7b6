"""Requests that wait for a version that is loaded on demand."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from convscope.server.errors import (
    BundleRejectedError,
    ShuttingDownError,
)
from convscope.server.inference.model_runner import Completed
from convscope.server.inference.requests import InferenceRequest
from convscope.server.repository.catalog import NotLoadedError

__all__ = ["OnDemandLoads"]

# What is loaded, and whether the requests that wait for it name it.
_Key = tuple[str, int, bool]


class OnDemandLoads:
    """Keeps requests while their version is loaded, one load for all that wait for it.

    Args:
        load: Loads a version of a model, given its number.
        resume: Called with the requests after a load.
        complete: Called with the requests that a load fails, and its error.
    """

    def __init__(
        self,
        load: Callable[[str, int], Awaitable[None]],
        resume: Callable[[Sequence[InferenceRequest]], None],
        complete: Callable[[Completed], None],
    ) -> None:
        self._load = load
        self._resume = resume
        self._complete = complete
        self._parked: dict[_Key, list[InferenceRequest]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def park(self, request: InferenceRequest, missing: NotLoadedError) -> None:
        """Keep a request until its version is loaded."""
        key = (missing.model, missing.version, missing.is_named)
        parked = self._parked.get(key)
        if parked is None:
            parked = self._parked[key] = []
            task = asyncio.create_task(self._load_for(key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        parked.append(request)
        request.parked = parked

    async def close(self) -> None:
        """Reject the requests that wait; the loads themselves go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _load_for(self, key: _Key) -> None:
        """Load a version, and continue or fail the requests that wait for it.

        If it is rejected, the next version is loaded, unless the requests name it.
        """
        model, version, is_named = key
        error: BaseException | None = None
        try:
            await asyncio.shield(asyncio.ensure_future(self._load(model, version)))
        except BundleRejectedError as rejected:
            error = rejected if is_named else None
        except asyncio.CancelledError:
            error = ShuttingDownError()
        except Exception as unexpected:  # noqa: BLE001 - the callers receive it
            error = unexpected
        requests = self._parked.pop(key)
        for request in requests:
            request.parked = None
        if error is None:
            self._resume(requests)
        else:
            self._complete([(request, error) for request in requests])
