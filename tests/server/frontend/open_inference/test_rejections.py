"""What ModelInfer rejects: each with its own code and message, and the server keeps serving."""

import re
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.calls import TIMEOUT_SECONDS, rejection
from support.images import encode, picture
from support.oip import (
    SHAPE,
    Stub,
    image_bytes_request,
    oip_connected,
    packed,
    pixels,
    raw_request,
    set_parameter,
    signal_tensor_request,
)
from support.server import serving
from support.tiny import SIGNAL_LENGTH, write_tiny

from convscope.open_inference import open_inference_pb2 as pb

Request = pb.ModelInferRequest
INVALID, UNSUPPORTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED
NOT_FOUND = grpc.StatusCode.NOT_FOUND
GOOD = encode(picture())


def images(change: Callable[[Request], None]) -> Request:
    """Ask about pixels, but for a change."""
    request = raw_request()
    change(request)
    return request


def typed(field: str, values: list[int] | list[float]) -> Request:
    """Ask about pixels in a field of the typed contents."""
    request = raw_request()
    del request.raw_input_contents[:]
    getattr(request.inputs[0].contents, field).extend(values)
    return request


def encoded(raw: bytes, count: int) -> Request:
    """Ask about encoded images whose raw contents are these."""
    request = image_bytes_request(*[GOOD] * count)
    request.raw_input_contents[0] = raw
    return request


def wanting(output: str, name: str, value: int | str, model: str = "tiny") -> Request:
    """Ask for one output with a parameter."""
    request = raw_request(outputs=[output], model=model)
    set_parameter(request.outputs[0].parameters[name], value)
    return request


def set_shape(*shape: int) -> Callable[[Request], None]:
    """Change the shape of the input."""

    def change(request: Request) -> None:
        request.inputs[0].ClearField("shape")
        request.inputs[0].shape.extend(shape)

    return change


def clear_data(request: Request) -> None:
    del request.raw_input_contents[:]


def send_twice(request: Request) -> None:
    request.inputs[0].contents.uint_contents.append(1)


def set_datatype(name: str) -> Callable[[Request], None]:
    def change(request: Request) -> None:
        request.inputs[0].datatype = name

    return change


def rename(request: Request) -> None:
    request.inputs[0].name = "pixels"


def share(request: Request) -> None:
    set_parameter(request.inputs[0].parameters["shared_memory_region"], "mine")


NAN = np.full((1, 1, SIGNAL_LENGTH), np.nan, np.float32)
REJECTED: dict[str, tuple[Request, grpc.StatusCode, str]] = {
    "no-model": (raw_request(model=""), INVALID, "names no model"),
    "unknown-model": (raw_request(model="cat"), NOT_FOUND, "no model 'cat'"),
    "no-feature-maps": (raw_request(model="signal.features"), NOT_FOUND, "has no feature maps"),
    "no-input": (images(lambda r: r.ClearField("inputs")), INVALID, "has 0 inputs"),
    "two-inputs": (images(lambda r: r.inputs.extend(list(r.inputs))), INVALID, "has 2 inputs"),
    "input-name": (images(rename), INVALID, "no input 'pixels'; its input is 'images'"),
    "datatype": (images(set_datatype("FP32")), INVALID, "datatype 'FP32'; tiny takes UINT8"),
    "no-datatype": (images(set_datatype("")), INVALID, "datatype ''"),
    "bytes-for-tensors": (
        signal_as_bytes := Request(model_name="signal"),
        INVALID,
        "takes FP32 [N, 1, 32]",
    ),
    "shape": (images(set_shape(1, 8, 8, 3)), INVALID, "shape [1, 8, 8, 3]; tiny takes UINT8 [N, "),
    "no-shape": (images(set_shape()), INVALID, "has the shape []"),
    "no-batch": (images(set_shape(*SHAPE)), INVALID, f"has the shape {list(SHAPE)}"),
    "negative-batch": (images(set_shape(-1, *SHAPE)), INVALID, "has the shape [-1, "),
    "empty-batch": (images(set_shape(0, *SHAPE)), INVALID, "has no inputs; send at least one"),
    "large-batch": (images(set_shape(65, *SHAPE)), INVALID, "at most 64 are accepted"),
    "huge-batch": (images(set_shape(2**62, *SHAPE)), INVALID, "at most 64 are accepted"),
    "many-dimensions": (images(set_shape(*[1] * 10_000)), INVALID, "10,000 dimensions"),
    "no-data": (images(clear_data), INVALID, "has no data"),
    "both-contents": (images(send_twice), INVALID, "send one of the two"),
    "two-raw": (
        images(lambda r: r.raw_input_contents.append(b"")),
        INVALID,
        "2 raw_input_contents for one input",
    ),
    "raw-too-short": (
        images(set_shape(2, *SHAPE)),
        INVALID,
        "UINT8 [2, 16, 16, 3] has 1,536 bytes, and 768 were sent",
    ),
    "typed-too-short": (typed("uint_contents", [1, 2]), INVALID, "768 elements, and 2 were sent"),
    "typed-elsewhere": (
        typed("fp32_contents", [1.0]),
        INVALID,
        "in fp32_contents; UINT8 belongs",
    ),
    "typed-nothing": (typed("uint_contents", []), INVALID, "are in nothing"),
    "typed-too-large": (typed("uint_contents", [300] * 768), INVALID, "hold 300; UINT8 ends"),
    "nan": (signal_tensor_request(NAN), INVALID, "NaN or infinite"),
    "element-cut": (encoded(b"\1\0", 1), INVALID, "end before element 0 of 1"),
    "element-overlong": (encoded(b"\xff\xff\xff\xff", 1), INVALID, "states 4,294,967,295 bytes"),
    "element-missing": (encoded(packed(GOOD), 2), INVALID, "end before element 1 of 2"),
    "element-left-over": (encoded(packed(GOOD) + b"12345", 1), INVALID, "5 bytes more than 1"),
    "not-an-image": (image_bytes_request(b"no"), INVALID, "image"),
    "one-of-three": (image_bytes_request(GOOD, b"no", GOOD), INVALID, "input 1 of 3: "),
    "unknown-output": (raw_request(outputs=["cats"]), INVALID, "no output 'cats'; it has: logits"),
    "feature-map-as-output": (raw_request(outputs=["conv"]), INVALID, "outputs of tiny.features"),
    "unknown-feature-map": (
        raw_request(model="tiny.features", outputs=["logits"]),
        INVALID,
        "no output 'logits'; it has: conv",
    ),
    "output-twice": (raw_request(outputs=["logits"] * 2), INVALID, "'logits' is requested twice"),
    "classification-0": (wanting("logits", "classification", 0), INVALID, "'classification' is 0"),
    "classification-negative": (wanting("logits", "classification", -1), INVALID, "is -1"),
    "classification-text": (wanting("logits", "classification", "5"), INVALID, "set int64_param"),
    "classification-of-a-map": (
        wanting("conv", "classification", 1, "tiny.features"),
        INVALID,
        "'conv' has no classes",
    ),
    "priority-text": (raw_request(parameters={"priority": "high"}), INVALID, "set int64_param"),
    "routing-key-number": (raw_request(parameters={"routing_key": 7}), INVALID, "set string_param"),
    "timeout-negative": (raw_request(parameters={"timeout": -5}), INVALID, "'timeout' is -5"),
    "sequence": (raw_request(parameters={"sequence_id": 3}), UNSUPPORTED, "no sequences"),
    "shared-input": (images(share), UNSUPPORTED, "'images' is in shared memory"),
    "shared-output": (
        wanting("logits", "shared_memory_region", "mine"),
        UNSUPPORTED,
        "'logits' is in shared memory",
    ),
}
signal_as_bytes.inputs.add(name="signal", datatype="BYTES", shape=[1])


@pytest.mark.parametrize("name", REJECTED)
def test_bad_input_is_rejected_and_the_server_keeps_serving(oip: Stub, name: str) -> None:
    request, code, words = REJECTED[name]
    assert rejection(oip.ModelInfer, request) == (code, Words(words))
    assert oip.ModelInfer(raw_request(), timeout=TIMEOUT_SECONDS).outputs


class Words(str):
    """Equal to every text that holds it."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self in other


def test_every_rejection_has_its_own_message(oip: Stub) -> None:
    messages = [rejection(oip.ModelInfer, request)[1] for request, _, _ in REJECTED.values()]
    assert len({re.sub(r"\d+", "", message) for message in messages}) > 0.8 * len(messages)


def test_bytes_that_are_no_request_are_rejected(oip: Stub) -> None:
    class Garbage:
        def SerializeToString(self) -> bytes:  # noqa: N802
            return b"\xff\xff\xff"

    code, message = rejection(oip.ModelInfer, Garbage())
    assert (code, "can't be parsed" in message) == (INVALID, True)


def test_feature_maps_over_the_cap_are_rejected_before_they_are_computed(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    with (
        serving(tmp_path, "--max-feature-map-bytes", "10000") as server,
        oip_connected(server) as stub,
    ):
        request = raw_request(pixels(3), model="tiny.features")
        code, message = rejection(stub.ModelInfer, request)
        assert (code, "would take 12,288 bytes" in message) == (INVALID, True)
        smaller = raw_request(pixels(2), model="tiny.features")
        assert stub.ModelInfer(smaller, timeout=TIMEOUT_SECONDS).outputs


def test_classes_over_the_cap_are_rejected_before_they_are_computed(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    with serving(tmp_path, "--max-reply-bytes", "1024") as server, oip_connected(server) as stub:

        def ask(count: int) -> Request:
            request = raw_request(pixels(count), outputs=["probabilities"])
            set_parameter(request.outputs[0].parameters["classification"], 99)
            return request

        code, message = rejection(stub.ModelInfer, ask(10))
        assert code is INVALID
        assert "could take 1,080 bytes; at most 1,024 are sent; ask for fewer inputs" in message
        assert stub.ModelInfer(ask(9), timeout=TIMEOUT_SECONDS).outputs
        assert stub.ModelInfer(raw_request(pixels(10)), timeout=TIMEOUT_SECONDS).outputs


def test_a_timeout_that_can_not_be_met_is_a_deadline_error(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    with serving(tmp_path) as server, oip_connected(server) as stub:
        request = raw_request(parameters={"timeout": 1})  # a microsecond: over when it is queued
        code, message = rejection(stub.ModelInfer, request)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "deadline" in message
