"""The client for asyncio: each method encodes, calls and decodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

import grpc

from convscope.client._calls.async_driver import stream_outcomes_async
from convscope.client._calls.call_batching import CallBatcher
from convscope.client._calls.image_encoder import ImageEncoder, Oversize
from convscope.client._calls.image_stream import ImageStream
from convscope.client._calls.options import (
    ClassifyManyOptions,
    Selector,
)
from convscope.client._calls.requests import (
    encode_get_model,
    encode_template,
)
from convscope.client._calls.single_request import SingleRequest
from convscope.client._calls.threads import in_thread, wait_for
from convscope.client._connection.channel import async_channel
from convscope.client._connection.connection import Connection
from convscope.client._connection.options import ConnectionOptions, Pem
from convscope.client._connection.tokens import Token
from convscope.client._inputs.checks import CheckedMetadata, Metadata, check_metadata
from convscope.client._results.models import decode_model, decode_models
from convscope.client._results.results import Outcome
from convscope.client.types import (
    Classification,
    ClassLike,
    ExplainLike,
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

    It connects on first use, and belongs to the event loop of that first use.
    Reading files, and converting and shrinking images, never blocks the loop.

    Concurrent `classify` calls with equal options share requests, up to 64
    images and 4 MiB each, and each call gets its own result or error. A call
    waits for others only while two such requests are in flight, and then for at
    most 5 ms.

    Args:
        target: The server's HOST:PORT, or another target that gRPC accepts.
        timeout_seconds: How long a call may take, retries included.
        tls: The credentials of a secure connection, as for `Client`.
        root_certificates: The certificates to trust, as for `Client`.
        client_certificate: The client's own certificates, as for `Client`.
        client_key: Their private key, as for `Client`.
        token: The token to send, as for `Client`; a function runs in a thread.
        token_file: A file with the token, as for `Client`.
        allow_insecure_token: Whether it may be sent without TLS, as for `Client`.
        oversize: What happens to an image beyond the server's limits, as for `Client`.
        coalesce: Whether concurrent calls may share a request.

    Raises:
        InvalidInputError: An argument is invalid.

    Example:
        >>> async with AsyncClient("localhost:8001") as client:
        ...     calls = [client.classify(f"digits/{i}.png", model="digits") for i in range(3)]
        ...     [result.top.label for result in await asyncio.gather(*calls)]
        ['0', '1', '2']
    """

    def __init__(
        self,
        target: str = "localhost:8001",
        *,
        timeout_seconds: float = 30.0,
        tls: grpc.ChannelCredentials | None = None,
        root_certificates: Pem | None = None,
        client_certificate: Pem | None = None,
        client_key: Pem | None = None,
        token: Token | None = None,
        token_file: str | Path | None = None,
        allow_insecure_token: bool = False,
        oversize: Oversize = "shrink",
        coalesce: bool = True,
    ) -> None:
        options = ConnectionOptions(
            tls=tls,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
            token=token,
            token_file=token_file,
            allow_insecure_token=allow_insecure_token,
        )
        super().__init__(target, timeout_seconds, options)
        self._encoder = ImageEncoder(oversize, self._describe)
        self._call_batcher = CallBatcher(self._classify) if coalesce else None

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
        """Close the connection; calls in flight are cancelled.

        Example:
            >>> client = AsyncClient("localhost:8001")
            >>> await client.close()
        """
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
        explain: ExplainLike = None,
        against: ClassLike | None = None,
        priority: Priority = "interactive",
        routing_key: str = "",
        timeout_seconds: float | None = None,
        metadata: Metadata = (),
    ) -> Classification:
        """Classify one image, as `Client.classify` does.

        Example:
            >>> result = await async_client.classify("coffee.png", model="efficientnet_lite0")
            >>> result.top.label
            'espresso'
        """
        timeout = self._timeout(timeout_seconds)
        template = encode_template(
            model,
            version=version,
            alias=alias,
            top_k=top_k,
            min_probability=min_probability,
            feature_maps=feature_maps,
            explain=explain,
            against=against,
            priority=priority,
            routing_key=routing_key,
        )
        sent = check_metadata(metadata)
        encode = partial(self._encoder.encode, template, image, sent, keeps_image=True)
        if self._encoder.is_slow(image):
            encoded = await in_thread(encode)
        else:
            encoded = encode()
        if self._call_batcher is not None:
            return await self._call_batcher.classify(template, encoded, timeout, sent)
        with SingleRequest(template, encoded, sent) as call:
            return call.result(await self._classify(call.message, timeout, metadata=call.metadata))

    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        return_errors: Literal[False] = False,
        **options: Unpack[ClassifyManyOptions],
    ) -> AsyncIterator[Classification]: ...
    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        return_errors: bool,
        **options: Unpack[ClassifyManyOptions],
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
        explain: ExplainLike = None,
        against: ClassLike | None = None,
        priority: Priority = "bulk",
        routing_key: str = "",
        timeout_seconds: float | None = None,
        metadata: Metadata = (),
        window: int = 8,
        return_errors: bool = False,
        progress: bool = False,
    ) -> AsyncIterator[Outcome]:
        """Classify any number of images, as `Client.classify_many` does.

        Example:
            >>> photos = ["digits/4.png", "digits/2.png"]
            >>> results = async_client.classify_many(photos, model="digits")
            >>> [result.top.label async for result in results]
            ['4', '2']
        """
        timeout = self._timeout(timeout_seconds)
        template = encode_template(
            model,
            version=version,
            alias=alias,
            top_k=top_k,
            min_probability=min_probability,
            feature_maps=feature_maps,
            explain=explain,
            against=against,
            priority=priority,
            routing_key=routing_key,
        )
        stream = ImageStream(
            template,
            images,
            window=window,
            return_errors=return_errors,
            encoder=self._encoder,
            metadata=check_metadata(metadata),
        )
        outcomes = stream_outcomes_async(
            stream,
            lambda batch: self._classify(batch.request(), timeout, metadata=batch.metadata),
        )
        if not progress:
            return outcomes
        from convscope.client._calls.progress import with_progress_async

        return with_progress_async(outcomes, images)

    async def models(
        self, *, timeout_seconds: float | None = None, metadata: Metadata = ()
    ) -> list[ModelSummary]:
        """List every version that is ready, as `Client.models` does.

        Example:
            >>> [one.model for one in await async_client.models()]
            ['digits', 'efficientnet_lite0']
        """
        request = pb.ListModelsRequest()
        return decode_models(
            await self._call(self._stub.ListModels, request, timeout_seconds, metadata)
        )

    async def model(
        self,
        name: str,
        *,
        version: int | None = None,
        alias: str | None = None,
        timeout_seconds: float | None = None,
        metadata: Metadata = (),
    ) -> ModelInfo:
        """Describe one version in full, as `Client.model` does.

        Example:
            >>> (await async_client.model("digits")).labels[:3]
            ('0', '1', '2')
        """
        request = encode_get_model(Selector(name, version, alias))
        return decode_model(
            await self._call(self._stub.GetModel, request, timeout_seconds, metadata)
        )

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection, for other services of the server; it closes with the client."""
        return self._channel

    def _describe(self, selector: Selector, metadata: CheckedMetadata) -> ModelInfo:
        """Describe a model for a thread that encodes an image."""
        name, version, alias = selector.model, selector.version, selector.alias
        return wait_for(self.model(name, version=version, alias=alias, metadata=metadata))

    async def _classify(
        self,
        request: pb.ClassifyRequest,
        timeout_seconds: float,
        remaining_seconds: float | None = None,
        metadata: CheckedMetadata = (),
    ) -> pb.ClassifyResponse:
        timeout = timeout_seconds if remaining_seconds is None else remaining_seconds
        with self._translate_errors(timeout_seconds):
            return await self._stub.Classify(request, timeout=timeout, metadata=metadata)

    async def _call(
        self, method: Any, request: Any, timeout_seconds: float | None, metadata: Metadata
    ) -> Any:
        timeout, sent = self._timeout(timeout_seconds), check_metadata(metadata)
        with self._translate_errors(timeout):
            return await method(request, timeout=timeout, metadata=sent)

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        return async_channel(self._target, self._credentials, self._tokens)

    @cached_property
    def _stub(self) -> inference_pb2_grpc.ClassifierServiceAsyncStub:
        return inference_pb2_grpc.ClassifierServiceStub(self._channel)
