"""The gRPC methods of the Open Inference Protocol."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import message_factory

from convscope.open_inference import open_inference_pb2 as pb

__all__ = ["Stub"]

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]


class Stub:
    """Calls the methods by their names.

    Args:
        channel: The connection to the server.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.server_ready = _method(channel, "ServerReady")
        self.model_ready = _method(channel, "ModelReady")
        self.server_metadata = _method(channel, "ServerMetadata")
        self.model_metadata = _method(channel, "ModelMetadata")
        self.model_config = _method(channel, "ModelConfig")
        self.model_statistics = _method(channel, "ModelStatistics")
        self.repository_index = _method(channel, "RepositoryIndex")
        self.infer = _method(channel, "ModelInfer")


def _method(channel: grpc.aio.Channel, name: str) -> Callable[..., Any]:
    method = SERVICE.methods_by_name[name]
    call: Callable[..., Any] = channel.unary_unary(
        f"/{SERVICE.full_name}/{name}",
        request_serializer=message_factory.GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    return call
