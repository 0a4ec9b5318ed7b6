"""Reflection, by a client that knows nothing of the server but reflection itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from support.calls import TIMEOUT_SECONDS
from support.server import ServerProcess, serving

SERVICES = {
    "convscope.v1.ClassifierService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
}


def generic_call(channel: grpc.Channel, service: str, method: str) -> Callable[..., Any]:
    """Make the call of a method from what reflection reports about it."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    described = pool.FindServiceByName(service).methods_by_name[method]
    request = message_factory.GetMessageClass(described.input_type)
    reply = message_factory.GetMessageClass(described.output_type)
    multi_callable: Any = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=request.SerializeToString,
        response_deserializer=reply.FromString,
    )
    return lambda **fields: multi_callable(request(**fields), timeout=TIMEOUT_SECONDS)


def test_every_service_is_listed(tiny_server: ServerProcess) -> None:
    with grpc.insecure_channel(tiny_server.target) as channel:
        assert set(ProtoReflectionDescriptorDatabase(channel).get_services()) == SERVICES


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_service_is_described(tiny_server: ServerProcess, service: str) -> None:
    with grpc.insecure_channel(tiny_server.target) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        assert pool.FindServiceByName(service).methods


def test_a_generic_client_calls_every_service(tiny_server: ServerProcess) -> None:
    with grpc.insecure_channel(tiny_server.target) as channel:
        assert generic_call(channel, "inference.GRPCInferenceService", "ServerLive")().live
        metadata = generic_call(channel, "inference.GRPCInferenceService", "ModelMetadata")
        assert metadata(name="tiny").inputs[0].name == "images"
        models = generic_call(channel, "convscope.v1.ClassifierService", "ListModels")().models
        assert [model.model for model in models] == ["signal", "tiny"]
        assert generic_call(channel, "grpc.health.v1.Health", "Check")(service="tiny").status == 1


def test_a_service_that_is_off_is_not_described(tiny_repository: Path) -> None:
    with (
        serving(tiny_repository, "--no-open-inference") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert services == SERVICES - {"inference.GRPCInferenceService"}
