"""Evaluates a model of a running server, through the API that every client uses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import grpc
import numpy as np

from convscope.exporter.errors import ExporterError, reason
from convscope.exporter.evaluation.inputs import Sample
from convscope.exporter.evaluation.predictors import Probabilities, check_classifies
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2
from convscope.v1.inference_pb2_grpc import ClassifierServiceStub

__all__ = ["ServerPredictor"]

MIB = 2**20
MAX_REQUEST_BYTES = 8 * MIB
MAX_REPLY_BYTES = 64 * MIB
TIMEOUT_SECONDS = 120.0
_OPTIONS = (
    ("grpc.max_send_message_length", 2 * MAX_REQUEST_BYTES),
    ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
)


class ServerPredictor:
    """A model of a running server.

    Args:
        target: The server, HOST:PORT.
        model: The model's name.
        version: The version; the server's default if None.
        root_certificates: A file of certificates in PEM, for a server with TLS.

    Raises:
        ExporterError: The server can't be reached or doesn't have the model.
    """

    def __init__(
        self,
        target: str,
        model: str,
        version: int | None = None,
        root_certificates: Path | None = None,
    ) -> None:
        _check_target(target)
        self._target = target
        self._channel = _channel(target, root_certificates)
        self._stub = ClassifierServiceStub(self._channel)
        request = pb.GetModelRequest(model=model)
        if version is not None:
            request.version = version
        with self._errors():
            found = self._stub.GetModel(request, timeout=TIMEOUT_SECONDS)
        self.manifest: manifest_pb2.ModelManifest = found.manifest
        check_classifies(self.manifest)
        self.runs_on = f"the server {target} on {found.summary.provider}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def predict(self, samples: Sequence[Sample]) -> list[Probabilities]:
        """Classify a batch; return one result for each sample."""
        found: list[Probabilities] = []
        for part in _within_limit(samples):
            found += self._classify(part)
        return found

    def _classify(self, samples: Sequence[Sample]) -> list[Probabilities]:
        request = pb.ClassifyRequest(
            model=self.manifest.model,
            version=self.manifest.version,
            inputs=map(_input, samples),
            top_k=len(self.manifest.labels),
            priority=pb.PRIORITY_BULK,
        )
        try:
            with self._errors():
                reply = self._stub.Classify(request, timeout=TIMEOUT_SECONDS, wait_for_ready=True)
        except _InputError as error:
            if len(samples) == 1:
                return [str(error)]
            raise
        return [self._row(result) for result in reply.results]

    def _row(self, result: pb.InputResult) -> Probabilities:
        if result.HasField("error"):
            return result.error.message
        row = np.zeros(len(self.manifest.labels), np.float32)
        for one in result.prediction.classes:
            row[one.index] = one.probability
        return row

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise ExporterError(
                    f"no server answers at {self._target}; start "
                    "one with convscope-server --models FOLDER, or correct the address"
                ) from error
            kind = (
                _InputError if error.code() == grpc.StatusCode.INVALID_ARGUMENT else ExporterError
            )
            raise kind(f"{self._target}: {error.details()} ({error.code().name})") from error


def _check_target(target: str) -> None:
    """Check that a target has a port, for which gRPC would take 443.

    Raises:
        ExporterError: It has none.
    """
    if target.startswith("unix:"):
        return
    host, _, port = target.rpartition(":")
    if not host or "://" in target.removeprefix("dns:///") or not port.isdecimal():
        raise ExporterError(f"--server is {target!r}; give HOST:PORT, such as localhost:8001")


class _InputError(ExporterError):
    """The server rejects the inputs."""


def _channel(target: str, root_certificates: Path | None) -> grpc.Channel:
    if root_certificates is None:
        return grpc.insecure_channel(target, _OPTIONS)
    try:
        credentials = grpc.ssl_channel_credentials(root_certificates.read_bytes())
    except OSError as error:
        raise ExporterError(f"{root_certificates} can't be read: {reason(error)}") from error
    return grpc.secure_channel(target, credentials, _OPTIONS)


def _input(sample: Sample) -> pb.Input:
    if sample.tensor is None:
        return pb.Input(encoded_image=sample.encoded or b"")
    tensor = np.ascontiguousarray(sample.tensor, "<f4")
    return pb.Input(
        tensor=pb.Tensor(
            dtype=manifest_pb2.DATA_TYPE_FLOAT32, shape=tensor.shape, data=tensor.tobytes()
        )
    )


def _within_limit(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Cut a batch into parts that fit into one request."""
    part: list[Sample] = []
    size = 0
    for sample in samples:
        own = len(sample.encoded) if sample.encoded is not None else _bytes(sample)
        if part and size + own > MAX_REQUEST_BYTES:
            yield part
            part, size = [], 0
        part.append(sample)
        size += own
    yield part


def _bytes(sample: Sample) -> int:
    return 0 if sample.tensor is None else sample.tensor.nbytes
