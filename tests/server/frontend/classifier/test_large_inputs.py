"""Requests with large inputs, which stay in the message."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from convscope.server.errors import InvalidInputError
from convscope.server.frontend.classifier.large_inputs import (
    MAX_FIELDS,
    MIN_MESSAGE_BYTES,
    LargeRequest,
    parse_request,
    unpacked,
)
from convscope.server.frontend.classifier.requests import decode_inputs
from convscope.server.inference.requests import EncodedImage, Input, Pixels, ReadyTensor
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

SHAPE = (3, 200, 200)
IMAGE = bytes(range(256)) * 1100
PIXELS = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=[300, 301, 3], data=bytes(300 * 301 * 3))
FLOATS = np.arange(np.prod(SHAPE), dtype="<f4")
TENSOR = pb.Tensor(dtype=mpb.DATA_TYPE_FLOAT32, shape=SHAPE, data=FLOATS.tobytes())


def request(*inputs: pb.Input, **fields: object) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(model="tiny", inputs=inputs, **fields)  # type: ignore[arg-type]


def plain(found: Input | Exception) -> object:
    """Return an input, or its error, as something that can be compared."""
    if isinstance(found, EncodedImage):
        return bytes(found.data)
    if isinstance(found, Pixels | ReadyTensor):
        return type(found), found.array.shape, found.array.dtype, found.array.tobytes()
    return str(found)


@pytest.mark.parametrize(
    "message",
    [
        request(pb.Input(encoded_image=IMAGE), top_k=3, routing_key="k"),
        request(pb.Input(pixels=PIXELS), alias="champion"),
        request(pb.Input(tensor=TENSOR), min_probability=0.5),
        request(
            pb.Input(encoded_image=b"small"),
            pb.Input(encoded_image=IMAGE),
            pb.Input(),
            pb.Input(tensor=TENSOR),
            pb.Input(pixels=PIXELS),
            pb.Input(encoded_image=IMAGE[1:]),
        ),
        request(*(pb.Input(encoded_image=IMAGE[:1000]) for _ in range(MAX_FIELDS))),
        request(pb.Input(tensor=pb.Tensor(data=IMAGE))),
    ],
    ids=["image", "pixels", "tensor", "several", "many-small", "no-shape"],
)
@pytest.mark.parametrize("offset", [0, 1, 2, 3])  # a tensor may be aligned or not
def test_the_inputs_are_those_that_protobuf_reads(message: pb.ClassifyRequest, offset: int) -> None:
    data = bytes(offset) + message.SerializeToString()
    found, contents = unpacked(parse_request(memoryview(data)[offset:]))
    for name in ("model", "alias", "top_k", "min_probability", "routing_key"):
        assert getattr(found, name) == getattr(message, name)
    dtype = mpb.DATA_TYPE_FLOAT32
    expected = decode_inputs(message.inputs, dtype, SHAPE)
    inputs = decode_inputs(found.inputs, dtype, SHAPE, contents)
    assert [plain(one) for one in inputs] == [plain(one) for one in expected]


def test_a_large_image_is_not_copied() -> None:
    data = bytearray(request(pb.Input(encoded_image=IMAGE)).SerializeToString())
    found = parse_request(memoryview(data))
    assert isinstance(found, LargeRequest)
    message, contents = found
    (image,) = decode_inputs(message.inputs, mpb.DATA_TYPE_UINT8, SHAPE, contents)
    assert isinstance(image, EncodedImage)
    data[data.index(IMAGE)] = 255
    assert image.data[0] == 255


def test_the_last_content_of_an_input_counts() -> None:
    first, last = pb.Input(encoded_image=IMAGE), pb.Input(tensor=TENSOR)
    both = first.SerializeToString() + last.SerializeToString()
    head = b"\x22" + _varint(len(both))
    found, contents = unpacked(parse_request(b"\x0a\x04tiny" + head + both))
    inputs = decode_inputs(found.inputs, mpb.DATA_TYPE_FLOAT32, SHAPE, contents)
    assert isinstance(inputs[0], ReadyTensor)


@pytest.mark.parametrize("cut", [1, 1000, len(IMAGE)])
def test_truncated_messages_are_rejected(cut: int) -> None:
    data = request(pb.Input(encoded_image=IMAGE)).SerializeToString()[:-cut]
    with pytest.raises(DecodeError):
        parse_request(data)


@pytest.mark.parametrize("junk", [b"\xff" * MIN_MESSAGE_BYTES, b"\x03" * MIN_MESSAGE_BYTES])
def test_bytes_that_are_no_message_are_rejected(junk: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_request(junk)


def test_a_wrong_shape_is_reported_with_the_size_that_was_sent() -> None:
    wrong = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=[1, 1, 3], data=IMAGE)
    found, contents = unpacked(parse_request(request(pb.Input(pixels=wrong)).SerializeToString()))
    (error,) = decode_inputs(found.inputs, mpb.DATA_TYPE_UINT8, SHAPE, contents)
    assert isinstance(error, InvalidInputError)
    assert f"{len(IMAGE):,} were sent" in error.message


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
