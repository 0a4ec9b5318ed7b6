"""gRPC reflection of services whose messages live in different descriptor pools."""

from collections.abc import Iterable

import grpc
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from convscope.server.frontend.transport.calls import Transport

__all__ = ["add_reflection"]

_ITSELF = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


def add_reflection(services: Iterable[ServiceDescriptor], transport: Transport) -> None:
    """Add reflection of these services and of itself to a transport.

    The library's servicer reads one descriptor pool. The messages of the Open
    Inference Protocol must stay out of protobuf's default pool, so a separate
    pool, from which no message is made, holds all descriptions.
    """
    described = (*services, _ITSELF)
    pool = DescriptorPool()
    for service in described:
        _add(service.file, pool)
    names = [service.full_name for service in described]
    servicer = reflection.aio.ReflectionServicer(names, pool=pool)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    transport.add_registered_method_handlers(_ITSELF.full_name, {"ServerReflectionInfo": handler})


def _add(file: FileDescriptor, pool: DescriptorPool) -> None:
    """Add a file after the files that it imports; adding one again changes nothing."""
    for dependency in file.dependencies:
        _add(dependency, pool)
    pool.AddSerializedFile(file.serialized_pb)
