"""The state of a server that still loads: health is NOT_SERVING, and calls are rejected."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2

from convscope.server.errors import UnavailableError

__all__ = ["StartupGate", "StartupHealth"]

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Handler = grpc.RpcMethodHandler[Any, Any]


class StartupHealth(health.aio.HealthServicer):  # type: ignore[misc] # it has no stubs
    """Reports NOT_SERVING until the first load is complete, then what was set.

    During the first load some models are ready before others, but no call is
    accepted yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, int] | None = {}

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


class StartupGate:
    """Rejects calls with UNAVAILABLE until the first load is complete.

    The generated `add_..._to_server` functions take it as a server.

    Args:
        server: Where the guarded handlers are registered.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self._is_open = False

    def open(self) -> None:
        """Accept calls from now on."""
        self._is_open = True

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Do nothing: the generated functions call the other method too."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, "Handler"]
    ) -> None:
        """Register the guarded handlers of a service."""
        guarded = {name: self._guard(handler) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, guarded)

    def _guard(self, handler: "Handler") -> "Handler":
        codec = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._check(handler.unary_unary), *codec)
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(self._check(handler.stream_stream), *codec)
        raise TypeError("no service has streams in one direction only")

    def _check(self, behavior: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a coroutine function without another coroutine around each call."""

        def guarded(request: Any, context: Any) -> Any:
            if not self._is_open:
                raise UnavailableError("the server is still loading its models; retry later")
            return behavior(request, context)

        return guarded
