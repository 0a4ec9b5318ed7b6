"""Access control of calls on grpc.aio.

Its handlers of unary calls begin when the request has arrived. A call whose metadata alone
decides is denied before that, in the place where the library asks for the handler.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import grpc

from convscope.server.errors import ServingError
from convscope.server.frontend.access.control import AccessControl, Admission
from convscope.server.frontend.access.credentials import Credential
from convscope.server.frontend.transport.calls import pushback

__all__ = ["HeadCheck", "admit"]

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]


class HeadCheck(grpc.GenericRpcHandler):
    """Denies calls by their metadata before their request is received.

    Args:
        handlers: Finds the handler of a call.
        access: Admits the calls.
    """

    def __init__(self, handlers: grpc.GenericRpcHandler, access: AccessControl) -> None:
        self._handlers = handlers
        self._access = access

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Return the handler of a call, or one that denies it."""
        handler: Handler | None = self._handlers.service(handler_call_details)
        credential = _credential(handler_call_details.invocation_metadata)
        if handler is None or self._access.needs_peer(credential):
            return handler
        path = handler_call_details.method
        try:
            self._access.admit(path, credential, None)
        except ServingError as error:
            return _denying(self._access, path, error)
        return handler


async def admit(access: AccessControl | None, path: str, context: Context) -> Admission | None:
    """Return the admission of a call; one that is denied is aborted.

    Args:
        access: Admits the calls; None admits all.
        path: The path of the RPC.
        context: The context of the call.
    """
    if access is None:
        return None
    peer = _Peer(context)
    try:
        return access.admit(path, _credential(context.invocation_metadata()), peer)
    except ServingError as error:
        access.log_denial(path, error, peer)
        await context.abort(error.code, error.message, tuple(pushback(error)))


class _Peer:
    """The other end of a call's connection.

    Args:
        context: The context of the call.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def peer(self) -> str:
        """Its address, as gRPC writes it."""
        return str(self._context.peer())

    @property
    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS has verified of it."""
        return self._context.auth_context()


def _denying(access: AccessControl, path: str, error: ServingError) -> Handler:
    async def deny(_: object, context: Context) -> None:
        access.log_denial(path, error, _Peer(context))
        await context.abort(error.code, error.message, tuple(pushback(error)))

    # Such a handler begins before a message is received, whatever the kind of the method.
    return grpc.stream_stream_rpc_method_handler(deny)


def _credential(metadata: Any) -> Credential | None:
    values = [
        value if isinstance(value, str) else value.decode("latin-1")
        for key, value in metadata or ()
        if key == "authorization"
    ]
    return Credential(*values) if values else None
