"""The calls that ask a server about itself and its models, blocking."""

from __future__ import annotations

import math
import time

import grpc

from convscope.client._calls.options import Selector
from convscope.client._calls.readiness import ReadyWait, checked_model
from convscope.client._calls.requests import encode_get_model
from convscope.client._connection.blocking_connection import BlockingConnection
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

__all__ = ["ServerCalls"]


class ServerCalls(BlockingConnection):
    """The calls of `Client` that classify nothing."""

    @property
    def _stub(self) -> inference_pb2_grpc.ClassifierServiceStub:
        kind = inference_pb2_grpc.ClassifierServiceStub
        stub: inference_pb2_grpc.ClassifierServiceStub = self._stub_of(self._channel, kind)
        return stub

    def health(
        self,
        model: str | None = None,
        *,
        timeout_seconds: float | None = None,
        metadata: Metadata = (),
    ) -> Health:
        """Return whether the server, or one of its models, accepts requests.

        A server that loads its models, or that is stopping, is not serving.

        Args:
            model: A model's name; by default the whole server.
            timeout_seconds: How long this call may take; by default the client's timeout.
            metadata: As for `classify`.

        Raises:
            NotFoundError: The server has no such model.
            UnavailableError: No server responds.
            ConvscopeError: The call failed.

        Example:
            >>> if client.health():
            ...     print("ready")
            ready
            >>> client.health("digits")
            <Health.SERVING: 'serving'>
        """
        check = health_check(self._channel)
        with checked_model(model) as service:
            health: Health = self._call(check, service, timeout_seconds, metadata)
        return health

    def wait_ready(
        self,
        timeout_seconds: float = 60.0,
        model: str | None = None,
        *,
        metadata: Metadata = (),
    ) -> None:
        """Wait until the server, or one of its models, accepts requests.

        The server need not run yet: it is asked for its health until it is ready.

        Args:
            timeout_seconds: How long to wait; by default a minute.
            model: A model's name; by default the whole server.
            metadata: As for `classify`.

        Raises:
            DeadlineExceededError: It wasn't ready in time. The message has the last reason.
            UnauthenticatedError: The server rejects the credentials.
            ConvscopeError: A health check failed for a reason that waiting can't change.

        Example:
            >>> client.wait_ready(timeout_seconds=30)
            >>> client.wait_ready(30, "digits")
        """
        wait = ReadyWait(self._server_name, model, timeout_seconds)
        while True:
            self._check_open()
            with wait.attempt() as seconds:
                wait.record(self.health(model, timeout_seconds=seconds, metadata=metadata))
            if wait.is_ready:
                return
            time.sleep(wait.pause_seconds())

    def server_info(
        self, *, timeout_seconds: float | None = None, metadata: Metadata = ()
    ) -> ServerInfo:
        """Return the server's version, transport and limits.

        A server that is too old to describe itself has the limits of a server without flags.

        Args:
            timeout_seconds: How long this call may take; by default the client's timeout.
            metadata: As for `classify`.

        Raises:
            ConvscopeError: The call failed.

        Example:
            >>> info = client.server_info()
            >>> info.version, info.limits.max_request_bytes
            ('0.1.0', 8388608)
        """
        request = pb.GetServerInfoRequest()
        try:
            response = self._call(self._stub.GetServerInfo, request, timeout_seconds, metadata)
        except InternalError as error:
            return info_of_older_server(error)
        return decode_server_info(response)

    def _model_name(self, model: str | None, metadata: Metadata) -> str:
        """Return the name of a call's model: its own, the client's, or the server's only one."""
        if model is not None:
            return model
        if self._default_model is None:
            self._default_model = only_model(self.models(metadata=metadata))
        return self._default_model

    def models(
        self, *, timeout_seconds: float | None = None, metadata: Metadata = ()
    ) -> list[ModelSummary]:
        """List every version that is ready, by name and then by version.

        Args:
            timeout_seconds: How long this call may take; by default the client's timeout.
            metadata: As for `classify`.

        Raises:
            ConvscopeError: The call failed.

        Example:
            >>> [(one.model, one.version) for one in client.models()]
            [('digits', 1), ('efficientnet_lite0', 1)]
        """
        request = pb.ListModelsRequest()
        return decode_models(self._call(self._stub.ListModels, request, timeout_seconds, metadata))

    def model(
        self,
        name: str | None = None,
        *,
        version: int | None = None,
        alias: str | None = None,
        timeout_seconds: float | None = None,
        metadata: Metadata = (),
    ) -> ModelInfo:
        """Describe one version in full: its input, labels, feature maps and provenance.

        Args:
            name: The model's name; by default the client's model, or the server's only one.
            version: The version; by default the latest.
            alias: The version, by one of its aliases.
            timeout_seconds: How long this call may take; by default the client's timeout.
            metadata: As for `classify`.

        Raises:
            NotFoundError: The server has no such model, version or alias.
            ConvscopeError: The call failed.

        Example:
            >>> info = client.model("digits")
            >>> info.input.shape, [one.name for one in info.feature_maps]
            ((28, 28, 1), ['conv1', 'pool1', 'conv2', 'pool2'])
        """
        request = encode_get_model(Selector(self._model_name(name, metadata), version, alias))
        return decode_model(self._call(self._stub.GetModel, request, timeout_seconds, metadata))

    @property
    def channel(self) -> grpc.Channel:
        """The connection, for other services of the server; it closes with the client."""
        channel = self._channel
        self._age_seconds = math.inf  # whoever has it may use it until the client is closed
        return channel
