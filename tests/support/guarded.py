"""A server that asks its callers for a token: a gRPC proxy with a check in front of a real one."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

TOKEN = "right-token"
VIEWER = "viewer-token"
LIMITED = "limited-token"

_OPEN = ("/grpc.health.v1.Health/",)
_VIEWERS = (
    *("/ListModels", "/GetModel", "/GetServerInfo"),
    *("/RepositoryIndex", "/ServerReady", "/ServerMetadata"),
)


class GuardedServer:
    """A server that asks for a token.

    TOKEN may do everything, VIEWER may only look, and LIMITED is over its rate.

    Args:
        target: Its address.
    """

    def __init__(self, target: str = "") -> None:
        self.target = target
        self.valid = {TOKEN, VIEWER, LIMITED}
        self.pushback_ms = 300
        self.seen: list[tuple[str, str]] = []  # the method and the token of each call

    def check(self, method: str, token: str) -> tuple[grpc.StatusCode, str] | None:
        """Return the status and message of a call that isn't allowed."""
        self.seen.append((method, token))
        if method.startswith(_OPEN):
            return None
        if not token:
            return grpc.StatusCode.UNAUTHENTICATED, "the call has no credentials"
        if token.removeprefix("Bearer ") not in self.valid:
            return grpc.StatusCode.UNAUTHENTICATED, "the token is not valid"
        if token.endswith(VIEWER) and not method.endswith(_VIEWERS):
            return grpc.StatusCode.PERMISSION_DENIED, "viewer may not call this method"
        if token.endswith(LIMITED):
            return grpc.StatusCode.RESOURCE_EXHAUSTED, "limited is over its rate"
        return None


@contextmanager
def guarded(target: str) -> Iterator[GuardedServer]:
    """Put a check of tokens in front of a real server for the duration of a with block."""
    guard = GuardedServer()
    with ThreadPoolExecutor(16) as pool, grpc.insecure_channel(target) as channel:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((_Handler(guard, channel),))
        guard.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield guard
        finally:
            server.stop(None).wait()


class _Handler(grpc.GenericRpcHandler):
    """Forwards every unary call, as bytes, if the guard allows it."""

    def __init__(self, guard: GuardedServer, channel: grpc.Channel) -> None:
        self._guard = guard
        self._channel = channel

    def service(self, call: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._forward(call.method))

    def _forward(self, method: str) -> Callable[[bytes, Any], bytes]:
        def forward(request: bytes, context: Any) -> bytes:
            token = dict(context.invocation_metadata()).get("authorization", "")
            if error := self._guard.check(method, token):
                if error[0] is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    pushback = ("grpc-retry-pushback-ms", str(self._guard.pushback_ms))
                    context.set_trailing_metadata((pushback,))
                context.abort(*error)
            inner: Any = self._channel.unary_unary(method)
            try:
                reply: bytes = inner(request, timeout=30)
            except grpc.RpcError as failed:
                context.abort(failed.code(), failed.details())
                raise
            return reply

        return forward
