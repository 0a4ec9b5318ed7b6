"""POST /v1/models/{model}:classify."""

import asyncio
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from convscope.client import AsyncClient, Classification, ConvscopeError, ImageLike
from convscope.web.bodies import is_raw, read_images
from convscope.web.calls import Calls, until_disconnected
from convscope.web.documentation import CLASSIFY_BODY, ERRORS, MODEL_PARAMETER
from convscope.web.errors import JSON, HttpError, from_client, unsupported
from convscope.web.query import ClassifyQuery, parameters, parse_query
from convscope.web.replies import ClassifyReply
from convscope.web.results import is_slow, to_reply
from convscope.web.selection import needs_model, options, selector
from convscope.web.settings import MAX_IMAGE_BYTES, MAX_REPLY_BYTES, MIB, WebSettings
from convscope.web.turns import Turns
from convscope.web.upload import Uploads

__all__ = ["ClassifyRoute"]

# A raw image, and what a .npy file has before its elements.
RAW_SLACK_BYTES = 4096
# Parsing a larger form would block the event loop for milliseconds.
SLOW_BYTES = MIB


class ClassifyRoute:
    """Classifies the images of requests.

    Args:
        settings: The limits.
        client: Calls the server.
        calls: Reads the headers of requests.
        uploads: Reads the bodies of requests.
        turns: Lets images wait before they fill the server's queue.
    """

    def __init__(
        self,
        settings: WebSettings,
        client: AsyncClient,
        calls: Calls,
        uploads: Uploads,
        turns: Turns,
    ) -> None:
        self._max_body_bytes = settings.max_body_bytes
        self._max_raw_bytes = min(settings.max_body_bytes, MAX_IMAGE_BYTES + RAW_SLACK_BYTES)
        self._client = client
        self._calls = calls
        self._uploads = uploads
        self._turns = turns

    def add_to(self, router: APIRouter) -> None:
        """Add the route."""
        router.add_api_route(
            "/v1/models/{model}:classify",
            self.classify,
            methods=["POST"],
            tags=["models"],
            summary="Classify images",
            response_model=None,
            responses={200: {"model": ClassifyReply, "description": "The results"}, **ERRORS},
            # FastAPI's own parsing of parameters takes longer than the rest of the request.
            openapi_extra={
                "parameters": [MODEL_PARAMETER, *parameters()],
                "requestBody": CLASSIFY_BODY,
            },
        )

    async def classify(self, request: Request) -> Response:
        """Return the classes of one or more images, and on request feature maps and explanations.

        If some of several images fail, the others still have results. If all of them fail,
        the request has the error of the first one.
        """
        started_at = perf_counter()
        query = parse_query(request.scope["query_string"])
        timeout = self._calls.timeout(query.timeout)
        model = request.path_params["model"]
        try:
            async with asyncio.timeout(timeout):
                return await self._answer(request, model, query, timeout, started_at)
        except TimeoutError as error:
            raise self._calls.late() from error

    async def _answer(
        self, request: Request, model: str, query: ClassifyQuery, timeout: float, started_at: float
    ) -> Response:
        content_type = request.headers.get("content-type", "")
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise unsupported(f"Content-Encoding is {encoding[:20]!r}; send the images as they are")
        limit = self._max_raw_bytes if is_raw(content_type) else self._max_body_bytes
        reply_bytes = MAX_REPLY_BYTES if query.feature_maps else 0
        async with self._uploads.read(request, limit, 0.9 * timeout, reply_bytes) as upload:
            body = upload.body
            if len(body) > SLOW_BYTES and not is_raw(content_type):
                images = await self._uploads.parse(partial(read_images, body, content_type))
            else:
                images = read_images(body, content_type)
            remaining = max(0.001, timeout - (perf_counter() - started_at))
            call = self._call(images, model, query, self._calls.metadata(request), remaining)
            outcomes = await until_disconnected(request, call)
            if all(isinstance(outcome, ConvscopeError) for outcome in outcomes):
                raise _first_error(outcomes)
            seconds = perf_counter() - started_at
            if is_slow(outcomes):
                content = await asyncio.to_thread(_encode, outcomes, query, seconds)
            else:
                content = _encode(outcomes, query, seconds)
            return Response(content, media_type=JSON)

    async def _call(
        self,
        images: Sequence[ImageLike],
        model: str,
        query: ClassifyQuery,
        metadata: Sequence[tuple[str, str]],
        timeout: float,
    ) -> Sequence[Classification | ConvscopeError]:
        info = None
        if needs_model(query):
            info = await self._client.model(
                model, **selector(query.version), timeout_seconds=timeout, metadata=metadata
            )
        arguments = options(query, info) | {"model": model, "metadata": metadata}
        ends_at = perf_counter() + timeout
        if len(images) == 1:
            return [await self._classify(images[0], ends_at, arguments)]
        calls = [self._classify(image, ends_at, arguments) for image in images]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        return [_expected(outcome) for outcome in outcomes]

    async def _classify(
        self, image: ImageLike, ends_at: float, arguments: dict[str, Any]
    ) -> Classification:
        async with self._turns.of(arguments["model"]):
            remaining = max(0.001, ends_at - perf_counter())
            return await self._client.classify(image, **arguments, timeout_seconds=remaining)


def _expected(outcome: Classification | BaseException) -> Classification | ConvscopeError:
    if isinstance(outcome, Classification | ConvscopeError):
        return outcome
    raise outcome


def _first_error(outcomes: Sequence[Classification | ConvscopeError]) -> HttpError:
    (first, *_) = (outcome for outcome in outcomes if isinstance(outcome, ConvscopeError))
    return from_client(first)


def _encode(
    outcomes: Sequence[Classification | ConvscopeError], query: ClassifyQuery, seconds: float
) -> bytes:
    reply = to_reply(outcomes, query.feature_map_format, seconds)
    return orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)
