"""The part of the Open Inference Protocol that the bench uses for Triton and MLServer.

The messages are described here field by field, so that neither peer's client is
required. Numbers and names are those of the public grpc_service.proto.
"""

import struct
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from bench.loads import Request, grpc_request
from bench.peers.base import TOP, Work

__all__ = ["infer_message", "infer_request", "infer_top", "is_ready"]

METHOD = "inference.GRPCInferenceService/ModelInfer"
READY = "inference.GRPCInferenceService/ServerReady"
_Field = descriptor_pb2.FieldDescriptorProto
_ONE, _MANY = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED
_NAMED = (
    ("name", 1, _Field.TYPE_STRING, _ONE),
    ("datatype", 2, _Field.TYPE_STRING, _ONE),
    ("shape", 3, _Field.TYPE_INT64, _MANY),
)
# The used fields of each message: name, number, type or message, label.
_MESSAGES: dict[str, tuple[tuple[Any, ...], ...]] = {
    "Contents": (
        ("int64_contents", 3, _Field.TYPE_INT64, _MANY),
        ("bytes_contents", 8, _Field.TYPE_BYTES, _MANY),
    ),
    "Tensor": (*_NAMED, ("contents", 5, "Contents", _ONE)),
    "InferRequest": (
        ("model_name", 1, _Field.TYPE_STRING, _ONE),
        ("inputs", 5, "Tensor", _MANY),
        ("raw_input_contents", 7, _Field.TYPE_BYTES, _MANY),
    ),
    "InferResponse": (
        ("outputs", 5, "Tensor", _MANY),
        ("raw_output_contents", 6, _Field.TYPE_BYTES, _MANY),
    ),
}


def _classes() -> dict[str, Any]:
    """Make the message classes."""
    file = descriptor_pb2.FileDescriptorProto(
        name="bench_oip.proto", package="bench.oip", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, label in fields:
            entry = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                entry.type, entry.type_name = _Field.TYPE_MESSAGE, f".bench.oip.{kind}"
            else:
                entry.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.oip.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _classes()


def infer_message(work: Work, *, batched: bool = False, as_bytes: bool = False) -> bytes:
    """Serialize the ModelInferRequest of a work.

    Args:
        work: The kind of request.
        batched: Whether the shape begins with a batch dimension of one.
        as_bytes: Whether the data is sent as one BYTES element instead of raw uint8.
    """
    request, data = _CLASSES["InferRequest"](model_name=work.name), work.data()
    if as_bytes:
        tensor = request.inputs.add(name="input", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(data)
    else:
        shape = [1] * batched + list(work.shape or [len(data)])
        request.inputs.add(name="input", datatype="UINT8", shape=shape)
        request.raw_input_contents.append(data)
    serialized: bytes = request.SerializeToString()
    return serialized


def infer_request(target: str, message: bytes) -> Request:
    """Make the request of a message."""
    return grpc_request(target, METHOD, message)


def infer_top(target: str, message: bytes) -> list[int]:
    """Make one call and return its output `classes`."""
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(target, options=options) as channel:
        data = _call(channel, METHOD, message, 30)
    response = _CLASSES["InferResponse"].FromString(data)
    for index, output in enumerate(response.outputs):
        if output.name == "classes":
            if response.raw_output_contents:
                return list(struct.unpack(f"<{TOP}q", response.raw_output_contents[index]))
            return list(output.contents.int64_contents)
    return []


def is_ready(target: str) -> bool:
    """Return whether the server and its models are ready."""
    try:
        with grpc.insecure_channel(target) as channel:
            data = _call(channel, READY, b"", 1)
    except grpc.RpcError:
        return False
    return data == b"\x08\x01"  # field 1, true


def _call(channel: grpc.Channel, method: str, message: bytes, seconds: float) -> bytes:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{method}")
    return call(message, timeout=seconds)
