"""The state of a server that still loads: health is NOT_SERVING, and calls are rejected."""

import asyncio
from collections.abc import Collection
from typing import Any

from grpc_health.v1 import health, health_pb2

from convscope.server.errors import ShuttingDownError, UnavailableError

__all__ = ["StartupGate", "StartupHealth"]


class StartupHealth(health.aio.HealthServicer):  # type: ignore[misc] # it has no stubs
    """Reports NOT_SERVING until the first load is complete, then what was set.

    During the first load some models are ready before others, but no call is
    accepted yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, int] | None = {}
        self._watching: set[asyncio.Task[None]] = set()

    async def start(self, services: Collection[str]) -> None:
        """Report NOT_SERVING from now on.

        Args:
            services: The names under which overall health is reported.
        """
        for service in services:
            await super().set(service, health_pb2.HealthCheckResponse.NOT_SERVING)

    async def set(self, service: str, status: int) -> None:
        """Set the health of a service; it is held back while the server loads."""
        if self._held is None:
            await super().set(service, status)
        else:
            self._held[service] = status

    async def open(self) -> None:
        """Report what was set, and from now on what is set."""
        held, self._held = self._held or {}, None
        for service, status in held.items():
            await super().set(service, status)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """Send the health of a service, and every change of it, until the watches end."""
        watching = asyncio.ensure_future(super().Watch(request, context))
        self._watching.add(watching)
        try:
            await asyncio.wait((watching,))
        finally:
            self._watching.discard(watching)
            if not watching.done():  # the caller has left
                watching.cancel()
        if watching.cancelled():
            error = ShuttingDownError()
            await context.abort(error.code, error.message)
        watching.result()

    def end_watches(self) -> None:
        """End all watches: the server stops, and their callers may watch another one."""
        for watching in self._watching:
            watching.cancel()


class StartupGate:
    """Rejects calls with UNAVAILABLE until the first load is complete."""

    def __init__(self) -> None:
        self._is_open = False

    def open(self) -> None:
        """Accept calls from now on."""
        self._is_open = True

    def check(self) -> None:
        """Check that calls are accepted.

        Raises:
            UnavailableError: The models still load.
        """
        if not self._is_open:
            raise UnavailableError("the server is still loading its models; retry later")
