"""The client for asyncio: each method encodes, calls and decodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, Unpack, overload

import grpc

from convscope.client._channel import async_channel
from convscope.client._coalescer import Coalescer
from convscope.client._codec import (
    Outcome,
    answer_or_raise,
    decode_results,
    encode_image,
    encode_request,
)
from convscope.client._connection import ClassifyOptions, Connection
from convscope.client._images import takes_long
from convscope.client._models import decode_model, decode_models
from convscope.client._pipeline import Plan, pipeline_async
from convscope.client._question import encode_get_model
from convscope.client.types import (
    Classification,
    FeatureMapSelection,
    ImageLike,
    ModelInfo,
    ModelSummary,
    Priority,
)
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

__all__ = ["AsyncClient"]


class AsyncClient(Connection):
    """Calls a Convscope server from asyncio; the methods are those of `Client`.

    It connects when it is first used, and belongs to the event loop of that
    first use. Files are read, and PIL images converted, off the loop.

    Concurrent `classify` calls that ask the same travel in one request, up to
    64 images and 4 MiB, and each gets its own answer or error. A call never
    waits for others while fewer than two such requests are in flight; then, at
    most 5 ms.

    Args:
        target: The server's HOST:PORT, or another target that gRPC knows.
        timeout_seconds: How long a call may take, retries included.
        tls: What to secure the connection with, as for `Client`.
        root_certificates: The certificates to trust, as for `Client`.
        coalesce: Whether concurrent calls may share a request.

    Raises:
        InvalidInputError: An argument can't be used.
    """

    def __init__(
        self,
        target: str = "localhost:8001",
        *,
        timeout_seconds: float = 30.0,
        tls: grpc.ChannelCredentials | None = None,
        root_certificates: str | Path | bytes | None = None,
        coalesce: bool = True,
    ) -> None:
        super().__init__(
            target, timeout_seconds=timeout_seconds, tls=tls, root_certificates=root_certificates
        )
        self._coalescer = Coalescer(self._classify) if coalesce else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        await self._channel.close()

    async def classify(
        self,
        image: ImageLike,
        *,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        top_k: int = 5,
        min_probability: float = 0.0,
        feature_maps: Iterable[str | FeatureMapSelection] = (),
        timeout_seconds: float | None = None,
        priority: Priority = "interactive",
        routing_key: str = "",
    ) -> Classification:
        """Classify one image, as `Client.classify` does."""
        timeout = self._timeout(timeout_seconds)
        question = self._question(
            model=model,
            version=version,
            alias=alias,
            top_k=top_k,
            min_probability=min_probability,
            feature_maps=feature_maps,
            priority=priority,
            routing_key=routing_key,
        )
        if takes_long(image):
            encoded = await asyncio.to_thread(encode_image, question, image)
        else:
            encoded = encode_image(question, image)
        if self._coalescer is not None:
            return await self._coalescer.classify(question, encoded, timeout)
        request = encode_request(question, [encoded])
        (outcome,) = decode_results(await self._classify(request, timeout), 1)
        return answer_or_raise(outcome)

    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        return_errors: Literal[False] = False,
        **options: Unpack[ClassifyOptions],
    ) -> AsyncIterator[Classification]: ...
    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        return_errors: bool,
        **options: Unpack[ClassifyOptions],
    ) -> AsyncIterator[Outcome]: ...
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        top_k: int = 5,
        min_probability: float = 0.0,
        feature_maps: Iterable[str | FeatureMapSelection] = (),
        timeout_seconds: float | None = None,
        priority: Priority = "bulk",
        routing_key: str = "",
        window: int = 8,
        return_errors: bool = False,
        progress: bool = False,
    ) -> AsyncIterator[Outcome]:
        """Classify any number of images, as `Client.classify_many` does."""
        timeout = self._timeout(timeout_seconds)
        question = self._question(
            model=model,
            version=version,
            alias=alias,
            top_k=top_k,
            min_probability=min_probability,
            feature_maps=feature_maps,
            priority=priority,
            routing_key=routing_key,
        )
        outcomes = pipeline_async(
            Plan(question, images, window, return_errors),
            lambda request: self._classify(request, timeout),
        )
        if not progress:
            return outcomes
        from convscope.client._progress import with_progress_async

        return with_progress_async(outcomes, images)

    async def models(self) -> list[ModelSummary]:
        """List every version that is ready, as `Client.models` does."""
        timeout = self._timeout_seconds
        with self._translate_errors(timeout):
            response = await self._stub.ListModels(pb.ListModelsRequest(), timeout=timeout)
        return decode_models(response)

    async def model(
        self, name: str, *, version: int | None = None, alias: str | None = None
    ) -> ModelInfo:
        """Describe one version in full, as `Client.model` does."""
        request, timeout = encode_get_model(name, version, alias), self._timeout_seconds
        with self._translate_errors(timeout):
            response = await self._stub.GetModel(request, timeout=timeout)
        return decode_model(response)

    async def _classify(
        self,
        request: pb.ClassifyRequest,
        timeout_seconds: float,
        remaining_seconds: float | None = None,
    ) -> pb.ClassifyResponse:
        timeout = timeout_seconds if remaining_seconds is None else remaining_seconds
        with self._translate_errors(timeout_seconds):
            return await self._stub.Classify(request, timeout=timeout)

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        return async_channel(self._target, self._credentials)

    @cached_property
    def _stub(self) -> inference_pb2_grpc.ClassifierServiceAsyncStub:
        return inference_pb2_grpc.ClassifierServiceStub(self._channel)
