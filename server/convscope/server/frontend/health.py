"""The state of a server that still loads: health is NOT_SERVING, and calls are rejected."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2

from convscope.server.errors import ServingError, ShuttingDownError, UnavailableError
from convscope.server.frontend.access.calls import caller_of, renewed_caller_of
from convscope.server.observability.calls import Caller

__all__ = ["StartupGate", "StartupHealth"]

# A watch looks as often whether its caller may still know of a model.
RECHECK_SECONDS = 1.0

_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class StartupHealth(health.aio.HealthServicer):  # type: ignore[misc] # it has no stubs
    """Reports NOT_SERVING until the first load is complete, then what was set.

    During the first load some models are ready before others, but no call is
    accepted yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, int] | None = {}
        self._overall: Collection[str] = ()
        self._changed = asyncio.Event()  # replaced at every change
        self._watches_ended = False

    async def start(self, services: Collection[str]) -> None:
        """Report NOT_SERVING from now on.

        Args:
            services: The names under which overall health is reported.
        """
        self._overall = services
        for service in services:
            await self._report(service, health_pb2.HealthCheckResponse.NOT_SERVING)

    async def set(self, service: str, status: int) -> None:
        """Set the health of a service; it is held back while the server loads."""
        if self._held is None:
            await self._report(service, status)
        else:
            self._held[service] = status

    async def open(self) -> None:
        """Report what was set, and from now on what is set."""
        held, self._held = self._held or {}, None
        for service, status in held.items():
            await self._report(service, status)

    async def enter_graceful_shutdown(self) -> None:
        """Report NOT_SERVING for all services, whatever is set from now on."""
        await super().enter_graceful_shutdown()
        self._notify()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return the health of a service."""
        if not self._shows(
            request.service, caller_of(context)
        ):  # the library's error has no message
            message = f"health knows no service or model {request.service[:80]!r}"
            await context.abort(grpc.StatusCode.NOT_FOUND, message)
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """Send the health of a service, and every change of it, until the watches end.

        The library's own method sends while it holds a lock that every change needs, so that
        one client that doesn't read would stop all changes, and the drain.
        """
        try:
            await self._watch(request.service, context)
        except ServingError as error:
            await context.abort(error.code, error.message)

    async def _watch(self, service: str, context: Any) -> NoReturn:
        sent: int | None = None
        while not self._watches_ended:
            changed, caller = self._changed, renewed_caller_of(context)
            status = _UNKNOWN
            if self._shows(service, caller):
                status = self._server_status[service]
            if status != sent:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                sent = status
            with suppress(TimeoutError):
                async with asyncio.timeout(None if caller is None else RECHECK_SECONDS):
                    await changed.wait()
        raise ShuttingDownError

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return the health of every service that the caller may know of."""
        caller = caller_of(context)
        return health_pb2.HealthListResponse(
            statuses={
                service: health_pb2.HealthCheckResponse(status=status)
                for service, status in self._server_status.items()
                if self._shows(service, caller)
            }
        )

    def _shows(self, service: str, caller: Caller | None) -> bool:
        """Return whether health knows a service, and the caller may know of it.

        With a policy, a caller learns nothing of the models that it may not use.
        """
        if service not in self._server_status:
            return False
        return service in self._overall or caller is None or caller.may_use(service)

    def end_watches(self) -> None:
        """End all watches: the server stops, and their callers may watch another one."""
        self._watches_ended = True
        self._notify()

    async def _report(self, service: str, status: int) -> None:
        await super().set(service, status)
        self._notify()

    def _notify(self) -> None:
        """Wake the watches."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


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

    async def checked(self) -> None:
        """Do the same as `check`, for callers that await it."""
        self.check()
