"""Raw calls of a running server with the Open Inference Protocol and the server's messages."""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from google.protobuf import message_factory
from numpy.typing import NDArray

from convscope.open_inference import open_inference_pb2 as pb
from support.server import ServerProcess
from support.tiny import SIDE, SIGNAL_LENGTH

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
SHAPE = (SIDE, SIDE, 3)

Pixels = NDArray[np.uint8]


class Stub:
    """The methods of the service by name."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = SERVICE.methods_by_name[name]
        make = self._channel.stream_stream if method.client_streaming else self._channel.unary_unary
        reply = message_factory.GetMessageClass(method.output_type)
        call: Callable[..., Any] = make(
            f"/{SERVICE.full_name}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        return call


@contextmanager
def oip_connected(server: ServerProcess) -> Iterator[Stub]:
    """Connect to a running server and return the stub."""
    with grpc.insecure_channel(server.target) as channel:
        yield Stub(channel)


def pixels(count: int = 1, seed: int = 0) -> Pixels:
    """Draw pictures in the input shape of the tiny model, [count, height, width, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def raw_request(
    batch: Pixels | None = None,
    *,
    model: str = "tiny",
    outputs: Sequence[str] = (),
    parameters: Mapping[str, int | str | bool] | None = None,
    **fields: Any,
) -> pb.ModelInferRequest:
    """Make a request with pixels. The default is one picture."""
    batch = pixels() if batch is None else batch
    request = pb.ModelInferRequest(model_name=model, raw_input_contents=[batch.tobytes()], **fields)
    request.inputs.add(name="images", datatype="UINT8", shape=batch.shape)
    for name in outputs:
        request.outputs.add(name=name)
    for name, value in (parameters or {}).items():
        set_parameter(request.parameters[name], value)
    return request


def image_bytes_request(*images: bytes, typed: bool = False) -> pb.ModelInferRequest:
    """Make a request with encoded images."""
    request = pb.ModelInferRequest(model_name="tiny")
    tensor = request.inputs.add(name="images", datatype="BYTES", shape=[len(images)])
    if typed:
        tensor.contents.bytes_contents.extend(images)
    else:
        request.raw_input_contents.append(packed(*images))
    return request


def signal_tensor_request(values: NDArray[np.float32] | None = None) -> pb.ModelInferRequest:
    """Make a request with signals. The default is one signal of zeros."""
    batch = np.zeros((1, 1, SIGNAL_LENGTH), np.float32) if values is None else values
    request = pb.ModelInferRequest(model_name="signal", raw_input_contents=[batch.tobytes()])
    request.inputs.add(name="signal", datatype="FP32", shape=batch.shape)
    return request


def packed(*elements: bytes) -> bytes:
    """Encode the raw contents of a BYTES tensor."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def set_parameter(parameter: pb.InferParameter, value: int | str | bool) -> None:
    """Set the field of a parameter for the type of its value."""
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    else:
        parameter.string_param = value


def arrays(response: pb.ModelInferResponse) -> dict[str, NDArray[np.float32]]:
    """Read the FP32 outputs of a response."""
    return {
        output.name: np.frombuffer(raw, "<f4").reshape(tuple(output.shape))
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
