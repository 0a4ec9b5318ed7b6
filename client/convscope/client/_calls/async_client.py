"""The client for asyncio: each method encodes, calls and decodes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import grpc

from convscope.client._calls.all_feature_maps import (
    as_sequence,
    selects_all,
    with_all_names,
)
from convscope.client._calls.async_driver import start_with, stream_outcomes_async
from convscope.client._calls.async_server_calls import AsyncServerCalls
from convscope.client._calls.call_batching import CallBatcher
from convscope.client._calls.image_encoder import ImageEncoder
from convscope.client._calls.image_stream import ImageStream
from convscope.client._calls.learned_limits import ASK_SECONDS
from convscope.client._calls.local import LocalClients
from convscope.client._calls.options import ClassifyManyOptions, Selector
from convscope.client._calls.requests import encode_template
from convscope.client._calls.single_request import SingleRequest
from convscope.client._calls.threads import in_thread, wait_for
from convscope.client._connection.options import ConnectionOptions, Pem
from convscope.client._connection.retries import DEFAULT_RETRIES, Retries, to_retries
from convscope.client._connection.tokens import Token
from convscope.client._inputs.arguments import Oversize
from convscope.client._inputs.checks import CheckedMetadata, Metadata, check_metadata
from convscope.client._inputs.many import check_images
from convscope.client._results.results import Outcome
from convscope.client._results.server_info import ServerLimits
from convscope.client._results.stream import AsyncResultStream
from convscope.client.types import (
    Classification,
    ClassLike,
    ExplainLike,
    FeatureMapSelection,
    ImageLike,
    ModelInfo,
    Priority,
)
from convscope.v1 import inference_pb2 as pb

__all__ = ["AsyncClient"]


class AsyncClient(AsyncServerCalls, LocalClients):
    """Calls a Convscope server from asyncio; the methods are those of `Client`.

    It connects on first use, and belongs to the event loop of that first use. When that loop
    is closed, the next one that uses the client connects again. In a process that was
    forked after its parent had used an `AsyncClient`, only `Client` works.
    Reading files, and converting and shrinking images, never blocks the loop.

    Concurrent `classify` calls with equal options share requests, up to 64
    images and 4 MiB each, and each call gets its own result or error. A call
    waits for others only while two such requests are in flight, and then for at
    most 5 ms.

    Args:
        target: The server's HOST:PORT, or another target, as for `Client`.
        timeout_seconds: How long a call may take, connecting and retries included.
        connect_timeout_seconds: How long an attempt to connect may take, as for `Client`.
        connection_age_seconds: When addresses are looked up again, as for `Client`.
        retries: How often a call is tried again, as for `Client`.
        model: The model of calls that name none, as for `Client`.
        metadata: Headers to send with each call, as for `Client`.
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
        connect_timeout_seconds: float = 10.0,
        connection_age_seconds: float | None = 300.0,
        retries: Retries | int = DEFAULT_RETRIES,
        model: str | None = None,
        metadata: Metadata = (),
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
            timeout_seconds=timeout_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            connection_age_seconds=connection_age_seconds,
            retries=to_retries(retries),
            model=model,
            metadata=check_metadata(metadata),
            tls=tls,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
            token=token,
            token_file=token_file,
            allow_insecure_token=allow_insecure_token,
            oversize=oversize,
            coalesce=coalesce,
        )
        self._open(target, options)

    def _open(self, target: str, options: ConnectionOptions) -> None:
        super()._open(target, options)
        self._encoder = ImageEncoder(options.oversize, self._describe, self._ask_limits)
        self._batched_channel: grpc.aio.Channel | None = None

    async def classify(
        self,
        image: ImageLike,
        *,
        model: str | None = None,
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
        name = await self._model_name(model, metadata)
        feature_maps = as_sequence(feature_maps)
        if selects_all(feature_maps):
            info = await self.model(
                name,
                version=version,
                alias=alias,
                timeout_seconds=timeout_seconds,
                metadata=metadata,
            )
            feature_maps = with_all_names(feature_maps, info)
        template = encode_template(
            name,
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
        sent = self._metadata(metadata)
        encode = partial(self._encoder.encode, template, image, sent, keeps_image=True)
        if self._encoder.is_slow(image):
            encoded = await in_thread(encode)
        else:
            encoded = encode()
        if self._options.coalesce:
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
    ) -> AsyncResultStream[Classification]: ...
    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        return_errors: bool,
        **options: Unpack[ClassifyManyOptions],
    ) -> AsyncResultStream[Outcome]: ...
    def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        model: str | None = None,
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
    ) -> AsyncResultStream[Any]:
        """Classify any number of images, as `Client.classify_many` does.

        Example:
            >>> photos = ["digits/4.png", "digits/2.png"]
            >>> results = async_client.classify_many(photos, model="digits")
            >>> [result.top.label async for result in results]
            ['4', '2']
        """
        timeout = self._timeout(timeout_seconds)
        feature_maps = as_sequence(feature_maps)
        asks_for_names = selects_all(feature_maps)

        async def find_model() -> str:
            nonlocal feature_maps
            name = await self._model_name(model, metadata)
            if asks_for_names:
                info = await self.model(
                    name,
                    version=version,
                    alias=alias,
                    timeout_seconds=timeout_seconds,
                    metadata=metadata,
                )
                feature_maps = with_all_names(feature_maps, info)
            return name

        def start(model: str) -> AsyncGenerator[Outcome, None]:
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
                metadata=self._metadata(metadata),
                retries=self._options.retries,
            )
            return stream_outcomes_async(
                stream,
                lambda batch: self._classify(batch.request(), timeout, metadata=batch.metadata),
            )

        check_images(images)  # at once, also if the model is yet to be asked for
        known = self._default_model if model is None else model
        if known is None or asks_for_names:
            outcomes = start_with(find_model, start)
        else:
            outcomes = start(known)
        if progress:
            from convscope.client._calls.progress import with_progress_async

            outcomes = with_progress_async(outcomes, images)
        return AsyncResultStream(outcomes, known or "the only model")

    @property
    def _call_batcher(self) -> CallBatcher:
        """The batcher of the channel, and so of the event loop."""
        channel = self._channel
        if self._batched_channel is not channel:
            self._batcher = CallBatcher(self._classify, self._encoder, self._options.retries)
            self._batched_channel = channel
        return self._batcher

    def _describe(self, selector: Selector, metadata: CheckedMetadata) -> ModelInfo:
        """Describe a model for a thread that encodes an image."""
        name, version, alias = selector.model, selector.version, selector.alias
        return wait_for(self.model(name, version=version, alias=alias, metadata=metadata))

    def _ask_limits(self, metadata: CheckedMetadata) -> ServerLimits:
        """Ask for the server's limits, for a thread that encodes an image."""
        timeout = min(self._timeout_seconds, ASK_SECONDS)
        return wait_for(self.server_info(timeout_seconds=timeout, metadata=metadata)).limits

    async def _classify(
        self,
        request: pb.ClassifyRequest,
        timeout_seconds: float,
        remaining_seconds: float | None = None,
        metadata: CheckedMetadata = (),
    ) -> pb.ClassifyResponse:
        method = self._stub.Classify
        response: pb.ClassifyResponse = await self._send(
            method, request, timeout_seconds, metadata, remaining_seconds
        )
        return response
