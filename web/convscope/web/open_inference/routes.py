"""The paths of the Open Inference Protocol."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

import grpc
import orjson
from fastapi import APIRouter, Query, Request
from google.protobuf.message import Message
from starlette.responses import Response

from convscope.open_inference import open_inference_pb2 as pb
from convscope.web.calls import Calls, until_disconnected
from convscope.web.documentation import INFER_BODY, OPEN_INFERENCE_ERRORS
from convscope.web.errors import JSON, from_rpc, invalid, too_large
from convscope.web.health import Health
from convscope.web.open_inference.plain import plain
from convscope.web.open_inference.replies import encode_reply
from convscope.web.open_inference.requests import (
    HEADER_LENGTH,
    InferBody,
    decompress,
    read_infer,
)
from convscope.web.open_inference.stub import Stub
from convscope.web.settings import MAX_IMAGE_BYTES, MAX_REPLY_BYTES, WebSettings
from convscope.web.turns import Turns
from convscope.web.upload import Uploads

__all__ = ["OpenInferenceRoutes"]

MODEL = "/v2/models/{model}"
VERSION = MODEL + "/versions/{version}"
# The suffix of the models that return feature maps.
FEATURES = ".features"
# Parsing a megabyte of JSON takes milliseconds.
SLOW_BYTES = 256 * 1024


class OpenInferenceRoutes:
    """Translates requests to the server's Open Inference Protocol over gRPC.

    Args:
        settings: The limits.
        stub: The methods of the server.
        calls: Reads the headers of requests.
        uploads: Reads the bodies of requests.
        turns: Lets requests wait before they fill the server's queue.
        health: Whether the server is ready.
    """

    def __init__(
        self,
        settings: WebSettings,
        stub: Stub,
        calls: Calls,
        uploads: Uploads,
        turns: Turns,
        health: Health,
    ) -> None:
        self._settings = settings
        self._stub = stub
        self._calls = calls
        self._uploads = uploads
        self._turns = turns
        self._health = health

    def add_to(self, router: APIRouter) -> None:
        """Add the routes."""

        def add(paths: tuple[str, ...], route: Any, summary: str, **options: Any) -> None:
            for path in paths:
                router.add_api_route(
                    path,
                    route,
                    tags=["open inference protocol"],
                    summary=summary,
                    response_model=None,
                    responses=OPEN_INFERENCE_ERRORS,
                    **({"methods": ["GET"]} | options),
                )

        body = {"openapi_extra": {"requestBody": INFER_BODY}}
        add((MODEL + "/infer", VERSION + "/infer"), self.infer, "Infer", methods=["POST"], **body)
        add(("/v2/health/live",), self.live, "Whether the process responds")
        add(("/v2/health/ready",), self.ready, "Whether the server is ready")
        add(("/v2",), self.server, "Describe the server")
        add(("/v2/models/stats",), self.statistics, "Statistics of all models")
        add((MODEL, VERSION), self.model, "Describe a model")
        add((MODEL + "/ready", VERSION + "/ready"), self.model_ready, "Whether a model is ready")
        add((MODEL + "/config", VERSION + "/config"), self.config, "How a model is run")
        add((MODEL + "/stats", VERSION + "/stats"), self.statistics, "Statistics of a model")
        add(("/v2/repository/index",), self.index, "List the models", methods=["POST"])

    async def live(self) -> Response:
        """Report that the process responds."""
        return _json({"live": True})

    async def ready(self) -> Response:
        """Report whether the server is ready."""
        reason = await self._health.reason()
        return _json({"ready": not reason}, 503 if reason else 200)

    async def server(self, request: Request) -> Response:
        """Return the name, the version and the extensions of the server."""
        reply = await self._call(request, self._stub.server_metadata, pb.ServerMetadataRequest())
        return _json(plain(reply))

    async def model(self, request: Request) -> Response:
        """Return the inputs and outputs of a model."""
        message = pb.ModelMetadataRequest(**_names(request))
        return _json(plain(await self._call(request, self._stub.model_metadata, message)))

    async def model_ready(self, request: Request) -> Response:
        """Report whether a model is ready."""
        message = pb.ModelReadyRequest(**_names(request))
        reply = await self._call(request, self._stub.model_ready, message)
        content = {"name": request.path_params["model"], "ready": reply.ready}
        return _json(content, 200 if reply.ready else 503)

    async def config(self, request: Request) -> Response:
        """Return how a model is run, in the form of Triton."""
        message = pb.ModelConfigRequest(**_names(request))
        reply = await self._call(request, self._stub.model_config, message)
        return _json(plain(reply.config))

    async def statistics(self, request: Request) -> Response:
        """Return the number and the durations of the requests, in the form of Triton."""
        message = pb.ModelStatisticsRequest(**_names(request))
        return _json(plain(await self._call(request, self._stub.model_statistics, message)))

    async def index(self, request: Request) -> Response:
        """List the models, in the form of Triton."""
        async with self._uploads.read(request, 4096, self._settings.timeout_seconds) as upload:
            try:
                content = orjson.loads(upload.body) if upload.body else {}
            except orjson.JSONDecodeError as error:
                raise invalid(f"the request is no JSON: {error}") from error
        ready = isinstance(content, dict) and content.get("ready") is True
        message = pb.RepositoryIndexRequest(ready=ready)
        reply = await self._call(request, self._stub.repository_index, message)
        return _json([plain(model) for model in reply.models])

    async def infer(
        self,
        request: Request,
        timeout: float | None = Query(None, description="How many seconds it may take."),
    ) -> Response:
        """Run a model on tensors, or on encoded images, as JSON or with the binary extension."""
        seconds = self._calls.timeout(timeout)
        try:
            async with asyncio.timeout(seconds):
                return await self._infer(request, seconds)
        except TimeoutError as error:
            raise self._calls.late() from error

    async def _infer(self, request: Request, seconds: float) -> Response:
        started_at = perf_counter()
        limit = self._settings.max_body_bytes
        is_large = request.path_params["model"].endswith(FEATURES)
        reply_bytes = MAX_REPLY_BYTES if is_large else 0
        async with self._uploads.read(request, limit, 0.9 * seconds, reply_bytes) as upload:
            parsed = await self._parse(request, upload.body)
            size = sum(map(len, parsed.message.raw_input_contents))
            if size > MAX_IMAGE_BYTES:
                raise too_large(
                    f"the inputs have {size:,} bytes; the limit of a request is "
                    f"{MAX_IMAGE_BYTES:,} bytes; send a smaller batch",
                    is_read=True,
                )
            upload.count(size)
            remaining = max(0.001, seconds - (perf_counter() - started_at))
            reply = await self._call(request, self._infer_in_turn, parsed.message, remaining)
            if reply.ByteSize() > SLOW_BYTES:
                return await asyncio.to_thread(encode_reply, parsed, reply)
            return encode_reply(parsed, reply)

    async def _infer_in_turn(
        self, message: pb.ModelInferRequest, timeout: float, metadata: Sequence[tuple[str, str]]
    ) -> pb.ModelInferResponse:
        ends_at = perf_counter() + timeout
        # MODEL.features and MODEL.explain share the model's queue.
        async with self._turns.of(message.model_name.partition(".")[0]):
            remaining = max(0.001, ends_at - perf_counter())
            reply: pb.ModelInferResponse = await self._stub.infer(
                message, timeout=remaining, metadata=metadata
            )
            return reply

    async def _parse(self, request: Request, body: bytes) -> InferBody:
        headers = request.headers
        encoding = headers.get("content-encoding", "").lower()

        def parse() -> InferBody:
            plain_body = decompress(body, encoding, self._settings.max_body_bytes)
            names = _names(request)
            length = headers.get(HEADER_LENGTH)
            return read_infer(plain_body, length, names["name"], names["version"])

        is_slow = len(body) > SLOW_BYTES or encoding
        return await self._uploads.parse(parse) if is_slow else parse()

    async def _call(
        self,
        request: Request,
        method: Callable[..., Awaitable[Any]],
        message: Message,
        timeout: float | None = None,
    ) -> Any:
        call = method(
            message,
            timeout=self._settings.timeout_seconds if timeout is None else timeout,
            metadata=self._calls.metadata(request),
        )
        try:
            return await until_disconnected(request, call)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error


def _names(request: Request) -> dict[str, str]:
    """Return the model and the version of a path; empty for all models and the default version."""
    parameters = request.path_params
    return {"name": parameters.get("model", ""), "version": parameters.get("version", "")}


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=JSON)
