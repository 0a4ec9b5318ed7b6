"""The calls that ask a server about itself and its models, for asyncio."""

from __future__ import annotations

import asyncio
import math

import grpc

from convscope.client._calls.options import Selector
from convscope.client._calls.readiness import ReadyWait, checked_model
from convscope.client._calls.requests import encode_get_model
from convscope.client._connection.async_connection import AsyncConnection
from convscope.client._connection.health_check import health_check
from convscope.client._inputs.checks import Metadata
from convscope.client._results.models import decode_model, decode_models, only_model
from convscope.client._results.server_info import (
    Health,
    ServerInfo,
    decode_server_info,
    info_of_older_server,
)
from convscope.client.errors import InternalError
from convscope.client.types import ModelInfo, ModelSummary
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

__all__ = ["AsyncServerCalls"]


class AsyncServerCalls(AsyncConnection):
    """The calls of `AsyncClient` that classify nothing."""

    @property
    def _stub(self) -> inference_pb2_grpc.ClassifierServiceAsyncStub:
        kind = inference_pb2_grpc.ClassifierServiceStub
        stub: inference_pb2_grpc.ClassifierServiceAsyncStub = self._stub_of(self._channel, kind)
        return stub

    async def health(
        self,
        model: str | None = None,
        *,
        timeout_seconds: float | None = None,
        metadata: Metadata = (),
    ) -> Health:
        """Return whether the server or a model accepts requests, as `Client.health` does.

        Example:
            >>> await async_client.health("digits")
            <Health.SERVING: 'serving'>
        """
        check = health_check(self._channel)
        with checked_model(model) as service:
            health: Health = await self._call(check, service, timeout_seconds, metadata)
        return health

    async def wait_ready(
        self,
        timeout_seconds: float = 60.0,
        model: str | None = None,
        *,
        metadata: Metadata = (),
    ) -> None:
        """Wait until the server or a model accepts requests, as `Client.wait_ready` does.

        Example:
            >>> await async_client.wait_ready(timeout_seconds=30)
        """
        wait = ReadyWait(self._server_name, model, timeout_seconds)
        while True:
            self._check_open()
            with wait.attempt() as seconds:
                wait.record(await self.health(model, timeout_seconds=seconds, metadata=metadata))
            if wait.is_ready:
                return
            await asyncio.sleep(wait.pause_seconds())

    async def server_info(
        self, *, timeout_seconds: float | None = None, metadata: Metadata = ()
    ) -> ServerInfo:
        """Return the server's version, transport and limits, as `Client.server_info` does.

        Example:
            >>> (await async_client.server_info()).limits.max_inputs
            64
        """
        request = pb.GetServerInfoRequest()
        try:
            response = await self._call(
                self._stub.GetServerInfo, request, timeout_seconds, metadata
            )
        except InternalError as error:
            return info_of_older_server(error)
        return decode_server_info(response)

    async def _model_name(self, model: str | None, metadata: Metadata) -> str:
        """Return the name of a call's model: its own, the client's, or the server's only one."""
        if model is not None:
            return model
        if self._default_model is None:
            self._default_model = only_model(await self.models(metadata=metadata))
        return self._default_model

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
        name: str | None = None,
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
        request = encode_get_model(Selector(await self._model_name(name, metadata), version, alias))
        return decode_model(
            await self._call(self._stub.GetModel, request, timeout_seconds, metadata)
        )

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection, for other services of the server; it closes with the client."""
        channel = self._channel
        self._age_seconds = math.inf  # whoever has it may use it until the client is closed
        return channel
