"""gRPC reflection, v1 and v1alpha, of services whose messages live in different pools."""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import text_format
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2

__all__ = ["add_reflection"]

_ITSELF = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
_METHOD = "ServerReflectionInfo"
_V1 = "grpc.reflection.v1.ServerReflection"


def add_reflection(services: Iterable[ServiceDescriptor], server: Any) -> None:
    """Add reflection of these services and of itself to a server.

    The library's servicer reads one descriptor pool. The messages of the Open
    Inference Protocol must stay out of protobuf's default pool, so a separate
    pool, from which no message is made, holds all descriptions.

    Args:
        services: The services to describe.
        server: A server of grpc.aio, or one like it.
    """
    described = (*services, _ITSELF)
    pool = DescriptorPool()
    for service in described:
        _add(service.file, pool)
    pool.AddSerializedFile(_v1_file().SerializeToString())
    names = [*(service.full_name for service in described), _V1]
    servicer = reflection.aio.ReflectionServicer(names, pool=pool)
    handlers = {
        _METHOD: grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
    }
    for name in (_ITSELF.full_name, _V1):
        server.add_registered_method_handlers(name, handlers)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))


def _add(file: FileDescriptor, pool: DescriptorPool) -> None:
    """Add a file after the files that it imports; adding one again changes nothing."""
    for dependency in file.dependencies:
        _add(dependency, pool)
    pool.AddSerializedFile(file.serialized_pb)


def _v1_file() -> FileDescriptorProto:
    """Return the description of v1: that of v1alpha under another name."""
    alpha = FileDescriptorProto.FromString(_ITSELF.file.serialized_pb)
    text = str(alpha).replace("v1alpha", "v1")
    return text_format.Parse(text, FileDescriptorProto())
