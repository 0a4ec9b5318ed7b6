"""What Ray's proxies offer: `grpc_servicer_functions`. Here, clients may retry a failed call.

Ray ends a call that failed with an empty reply, and then the status. A client of gRPC retries no
call whose reply has begun, whatever the status. And Ray reports a replica that died with
INTERNAL, which clients don't retry either. So the stubs are registered with handlers that send
the status alone, and UNAVAILABLE for a replica that died or can't be reached.
"""

import re
from collections.abc import Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from ray.exceptions import ActorDiedError

from convscope.v1 import inference_pb2_grpc

__all__ = ["SERVICERS", "add_classifier", "add_health", "is_lost"]

SERVICERS = ("deploy.ray.servicers.add_classifier", "deploy.ray.servicers.add_health")

_UNSET = 0  # what a context returns for a code that nobody has set
# Of ActorDiedError and ActorUnavailableError, of which only the text gets into the status.
_LOST = re.compile(rf"{re.escape(ActorDiedError.BASE_ERROR_MSG)}|The actor \w+ is unavailable: ")


def add_classifier(servicer: Any, server: Any) -> None:
    """Add ClassifierService to the server of a proxy."""
    adding: Any = _Aborting(server)
    inference_pb2_grpc.add_ClassifierServiceServicer_to_server(servicer, adding)


def add_health(servicer: Any, server: Any) -> None:
    """Add the health check of gRPC to the server of a proxy."""
    health_pb2_grpc.add_HealthServicer_to_server(servicer, _Aborting(server))


def is_lost(details: str) -> bool:
    """Return whether a replica died during a call, or could not be reached.

    Args:
        details: Of the status that Ray sets.
    """
    return _LOST.match(details) is not None


class _Aborting:
    """Takes a server's place in the generated functions.

    Args:
        server: Ray's, which replaces the behavior of each handler by its own.
    """

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Do nothing: the generated functions call the other method as well."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add the handlers of a service."""
        aborting: Any = {name: _Handler(handler) for name, handler in handlers.items()}
        generic = grpc.method_handlers_generic_handler(service, aborting)
        self._server.add_generic_rpc_handlers((generic,))


class _Handler:
    """A handler for Ray's server, which calls `_replace` with its own behavior.

    Args:
        handler: The handler of the generated function.
    """

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def _replace(self, *, unary_unary: Any, **others: Any) -> Any:
        """Return the handler that is registered."""

        async def call(request: Any, context: Any) -> Any:
            reply = await unary_unary(request, context)
            code, details = context.code(), context.details()
            if code is grpc.StatusCode.INTERNAL and is_lost(details):
                code, details = grpc.StatusCode.UNAVAILABLE, "the replica was lost during the call"
            if code not in (grpc.StatusCode.OK, _UNSET):
                await context.abort(code, details)
            return reply

        return self._handler._replace(unary_unary=call, **others)
