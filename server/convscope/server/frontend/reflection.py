"""gRPC reflection, v1 and v1alpha, of services whose messages live in different pools."""

from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeAlias

import grpc
from google.protobuf import text_format
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from convscope.server.frontend.parsing import parse_or_abort, parser
from convscope.server.frontend.transport.calls import Transport

__all__ = ["add_reflection"]

_ITSELF = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]

Request: TypeAlias = reflection_pb2.ServerReflectionRequest
Response: TypeAlias = reflection_pb2.ServerReflectionResponse
Context: TypeAlias = Any  # of either transport

_V1 = "grpc.reflection.v1.ServerReflection"


def add_reflection(
    services: Iterable[ServiceDescriptor], transport: Transport, max_request_bytes: int
) -> None:
    """Add reflection of these services and of itself to a transport.

    The library's servicer reads one descriptor pool. The messages of the Open
    Inference Protocol must stay out of protobuf's default pool, so a separate
    pool, from which no message is made, holds all descriptions.
    """
    described = (*services, _ITSELF)
    pool = DescriptorPool()
    for service in described:
        _add(service.file, pool)
    pool.AddSerializedFile(_v1_file().SerializeToString())
    names = [*(service.full_name for service in described), _V1]
    servicer = reflection.aio.ReflectionServicer(names, pool=pool)

    async def reply(messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[Response]:
        requests = _parse(messages, context, max_request_bytes)
        async for response in servicer.ServerReflectionInfo(requests, context):
            yield response

    handler: grpc.RpcMethodHandler[bytes, Response] = grpc.stream_stream_rpc_method_handler(
        reply,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (_ITSELF.full_name, _V1):
        transport.add_registered_method_handlers(name, {"ServerReflectionInfo": handler})


async def _parse(
    messages: AsyncIterator[bytes], context: Context, max_bytes: int
) -> AsyncIterator[Request]:
    parse = parser(Request.FromString, max_bytes)
    async for message in messages:
        yield await parse_or_abort(parse, message, context)


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
