"""GET /healthz, the web process, and GET /readyz, the server behind it."""

from dataclasses import dataclass
from typing import Any

import grpc
import orjson
from fastapi import APIRouter
from starlette.responses import Response

from convscope._grpc_messages import connection_problem
from convscope.open_inference import open_inference_pb2 as oip
from convscope.web.errors import JSON, from_rpc
from convscope.web.open_inference.stub import Stub
from convscope.web.replies import HealthReply, ReadyReply

__all__ = ["Health", "Lifecycle"]

# A probe usually waits for a second.
TIMEOUT_SECONDS = 0.9


@dataclass(slots=True)
class Lifecycle:
    """Whether the process stops soon."""

    is_stopping: bool = False


class Health:
    """Reports whether requests would succeed.

    Args:
        server: The address of the gRPC server.
        stub: Calls the server's Open Inference Protocol.
        lifecycle: Whether the process stops soon.
    """

    def __init__(self, server: str, stub: Stub, lifecycle: Lifecycle) -> None:
        self._server = server
        self._stub = stub
        self._lifecycle = lifecycle

    def add_to(self, router: APIRouter) -> None:
        """Add the routes."""
        router.add_api_route(
            "/healthz",
            self.healthz,
            methods=["GET"],
            tags=["health"],
            summary="Whether the web process responds",
            response_model=None,
            responses={200: {"model": HealthReply, "description": "It responds"}},
        )
        router.add_api_route(
            "/readyz",
            self.readyz,
            methods=["GET"],
            tags=["health"],
            summary="Whether the gRPC server is ready",
            response_model=None,
            responses={
                200: {"model": ReadyReply, "description": "It is ready"},
                503: {"model": ReadyReply, "description": "It isn't ready; the reply says why"},
            },
        )

        for path, route in (("/healthz", self.healthz), ("/readyz", self.readyz)):
            router.add_api_route(path, route, methods=["HEAD"], include_in_schema=False)

    async def healthz(self) -> Response:
        """Report that the web process responds."""
        return _json({"status": "ok"}, 200)

    async def readyz(self) -> Response:
        """Report whether the gRPC server is ready, and if it isn't, why."""
        reason = await self.reason()
        reply = {"ready": not reason, "server": self._server, "reason": reason}
        return _json(reply, 503 if reason else 200)

    async def reason(self) -> str:
        """Return why requests would fail; empty if they would succeed."""
        if self._lifecycle.is_stopping:
            return "the web process is stopping"
        try:
            reply = await self._stub.server_ready(oip.ServerReadyRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            return self._describe(error)
        return "" if reply.ready else "the gRPC server loads models, or is stopping"

    def _describe(self, error: grpc.aio.AioRpcError) -> str:
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return ""  # a server with --no-open-inference, which responds at least
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return (
                "the gRPC server asks for credentials; leave health open in its policy, or start "
                f"the web process with --server-token-file: {details}"
            )
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"no reply from {self._server} within {TIMEOUT_SECONDS:g} s"
        if code is grpc.StatusCode.UNAVAILABLE:
            return f"no gRPC server responds at {self._server}: {connection_problem(details)}"
        return from_rpc(error).message


def _json(content: Any, status: int) -> Response:
    return Response(orjson.dumps(content), status, media_type=JSON)
