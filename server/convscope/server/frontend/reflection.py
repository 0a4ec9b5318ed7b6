"""gRPC reflection of services whose messages live in different descriptor pools."""

from collections.abc import Iterable

import grpc
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2

__all__ = ["add_reflection"]

_ITSELF = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


def add_reflection(services: Iterable[ServiceDescriptor], server: grpc.aio.Server) -> None:
    """Let a server describe these services, and reflection itself.

    The library's servicer looks into one pool. The Open Inference Protocol's
    messages must stay out of protobuf's default one, and so all descriptions
    are gathered in a pool of their own, which no message is made from.
    """
    described = (*services, _ITSELF)
    pool = DescriptorPool()
    for service in described:
        _add(service.file, pool)
    names = [service.full_name for service in described]
    reflection.enable_server_reflection(names, server, pool=pool)


def _add(file: FileDescriptor, pool: DescriptorPool) -> None:
    """Add a file after those that it imports; a file that is there already stays as it is."""
    for dependency in file.dependencies:
        _add(dependency, pool)
    pool.AddSerializedFile(file.serialized_pb)
