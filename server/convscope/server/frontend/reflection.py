"""gRPC reflection, v1 and v1alpha, of services whose messages live in different pools."""

from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeAlias

import grpc
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
    file = FileDescriptorProto.FromString(_ITSELF.file.serialized_pb)
    file.name, file.package = _v1(file.name), _v1(file.package)
    file.options.java_package = _v1(file.options.java_package)
    file.options.go_package = _v1(file.options.go_package)
    for message in file.message_type:
        for field in message.field:
            if field.type_name:  # a message or an enumeration
                field.type_name = _v1(field.type_name)
    for service in file.service:
        for method in service.method:
            method.input_type, method.output_type = _v1(method.input_type), _v1(method.output_type)
    return file


def _v1(name: str) -> str:
    return name.replace("v1alpha", "v1")
