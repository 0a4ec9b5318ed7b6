"""ModelStreamInfer: any number of requests, one reply each, in order."""

from typing import Any

import grpc
from support.calls import TIMEOUT_SECONDS
from support.oip import SERVICE, Stub, pixels, raw_request, signal_tensor_request
from support.server import ServerProcess

from convscope.open_inference import open_inference_pb2 as pb


def stream(oip: Stub, *requests: pb.ModelInferRequest) -> list[pb.ModelStreamInferResponse]:
    return list(oip.ModelStreamInfer(iter(requests), timeout=TIMEOUT_SECONDS))


def test_each_request_is_answered_in_its_place(oip: Stub) -> None:
    requests = [
        raw_request(pixels(n % 3 + 1), id=str(n)) if n % 2 else signal_tensor_request()
        for n in range(100)
    ]
    replies = stream(oip, *requests)
    assert [reply.infer_response.id for reply in replies] == [request.id for request in requests]
    assert [reply.infer_response.model_name for reply in replies] == [
        request.model_name for request in requests
    ]
    assert all(
        reply.infer_response.parameters["triton_final_response"].bool_param for reply in replies
    )
    assert not any(reply.error_message for reply in replies)


def test_a_request_that_fails_does_not_end_the_stream(oip: Stub) -> None:
    good, bad = raw_request(id="good"), raw_request(id="bad", outputs=["cats"])
    unknown = raw_request(model="cat", id="unknown")
    replies = stream(oip, good, bad, unknown, good)
    assert [bool(reply.error_message) for reply in replies] == [False, True, True, False]
    assert [reply.infer_response.id for reply in replies] == ["good", "bad", "unknown", "good"]
    assert "no output 'cats'" in replies[1].error_message
    assert "no model 'cat'" in replies[2].error_message
    assert not replies[1].infer_response.outputs


def test_a_message_that_cannot_be_parsed_does_not_end_the_stream(
    tiny_server: ServerProcess,
) -> None:
    good = raw_request(id="good").SerializeToString()
    with grpc.insecure_channel(tiny_server.target) as channel:
        call: Any = channel.stream_stream(
            f"/{SERVICE.full_name}/ModelStreamInfer",
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        replies = list(call(iter([good, b"\xff\xff\xff", good]), timeout=TIMEOUT_SECONDS))
    assert [bool(reply.error_message) for reply in replies] == [False, True, False]
    assert "3 bytes can't be parsed" in replies[1].error_message
    assert [reply.infer_response.id for reply in replies] == ["good", "", "good"]


def test_an_empty_stream_is_answered_by_nothing(oip: Stub) -> None:
    assert stream(oip) == []
