"""What reaches the gRPC server, and errors that only some servers and proxies have."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from support.web_process import WebProcess

from convscope.open_inference import open_inference_pb2 as oip
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

CLASSIFY = "/v1/models/m:classify"
CODES = grpc.StatusCode


class Scripted(inference_pb2_grpc.ClassifierServiceServicer):
    """Keeps the metadata of each call, and fails as it is told."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str | bytes]] = []
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.pushback_ms = -1

    def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:  # noqa: N802
        self.metadata.append(dict(context.invocation_metadata()))
        if self.failure is not None:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", str(self.pushback_ms)),))
            context.abort(*self.failure)
        score = pb.ClassScore(index=0, label="yes", probability=1)
        result = pb.InputResult(prediction=pb.Prediction(classes=[score]))
        return pb.ClassifyResponse(model="m", version=1, results=[result] * len(request.inputs))


def inconsistent(request: oip.ModelInferRequest, context: Any) -> oip.ModelInferResponse:
    """Describe an output that isn't sent."""
    output = oip.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[1])
    return oip.ModelInferResponse(model_name="m", outputs=[output])


INFER = grpc.method_handlers_generic_handler(
    "inference.GRPCInferenceService",
    {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(
            inconsistent,
            oip.ModelInferRequest.FromString,
            oip.ModelInferResponse.SerializeToString,
        )
    },
)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Scripted, str]]:
    scripted = Scripted()  # type: ignore[abstract]
    server = grpc.server(ThreadPoolExecutor(4))
    inference_pb2_grpc.add_ClassifierServiceServicer_to_server(scripted, server)
    server.add_generic_rpc_handlers((INFER,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield scripted, f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture(scope="module")
def forwarding(served: tuple[Scripted, str]) -> Iterator[WebProcess]:
    with WebProcess(served[1], "--forward-header", "X-Tenant") as web:
        yield web


@pytest.fixture
def scripted(served: tuple[Scripted, str]) -> Scripted:
    served[0].metadata.clear()
    served[0].failure = None
    return served[0]


def test_tokens_and_traces_are_passed_on(scripted: Scripted, forwarding: WebProcess) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {
        "Authorization": "Bearer secret",
        "Traceparent": parent,
        "X_Tenant": "blue",
        "X_Request_Id": "stated",
        "Cookie": "a=b",
        "X_Other": "no",
    }
    assert forwarding.post(CLASSIFY, b"image", **headers).status == 200
    (metadata,) = scripted.metadata
    assert metadata["authorization"] == "Bearer secret"
    assert metadata["traceparent"] == parent
    assert metadata["x-tenant"] == "blue"
    assert metadata["x-request-id"] == "stated"
    assert not {"cookie", "x-other"} & metadata.keys()


@pytest.mark.parametrize("path", ["/v1/models", "/v2"])
def test_a_token_that_grpc_does_not_send_is_rejected(
    scripted: Scripted, forwarding: WebProcess, path: str
) -> None:
    reply = forwarding.get(path, Authorization="Bearer \xe9")
    assert reply.status == 400
    assert b"the header authorization must be printable ASCII" in reply.body


def test_callers_never_share_a_call_with_another_token(
    scripted: Scripted, forwarding: WebProcess
) -> None:
    def call(number: int) -> int:
        return forwarding.post(CLASSIFY, b"image", Authorization=f"Bearer {number}").status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(8))) == [200] * 8
    tokens = [metadata["authorization"] for metadata in scripted.metadata]
    assert sorted(tokens) == [f"Bearer {number}" for number in range(8)]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (CODES.UNAUTHENTICATED, 401),
        (CODES.PERMISSION_DENIED, 403),
        (CODES.FAILED_PRECONDITION, 412),
        (CODES.UNIMPLEMENTED, 501),
        (CODES.INTERNAL, 500),
        (CODES.DATA_LOSS, 500),
        (CODES.DEADLINE_EXCEEDED, 504),
    ],
)
def test_every_code_has_a_status(
    scripted: Scripted, forwarding: WebProcess, code: grpc.StatusCode, status: int
) -> None:
    scripted.failure = code, "the reason"
    assert forwarding.post(CLASSIFY, b"image").error == (status, code.name, "the reason")


@pytest.mark.parametrize(("pushback_ms", "seconds"), [(-1, "1"), (40, "1"), (2500, "3")])
def test_a_full_server_says_when_to_retry(
    scripted: Scripted, forwarding: WebProcess, pushback_ms: int, seconds: str
) -> None:
    scripted.failure, scripted.pushback_ms = (CODES.RESOURCE_EXHAUSTED, "full"), pushback_ms
    reply = forwarding.post(CLASSIFY, b"image")
    assert reply.error == (429, "RESOURCE_EXHAUSTED", "full")
    assert reply.headers["retry-after"] == seconds


def test_a_server_of_another_kind_is_no_crash(scripted: Scripted, forwarding: WebProcess) -> None:
    assert forwarding.get("/v1/models").status == 501
    assert forwarding.get("/v2").status == 501
    assert forwarding.get("/readyz").json["ready"] is True  # it responds


def test_an_unexpected_error_has_the_form_of_its_protocol(forwarding: WebProcess) -> None:
    body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}'
    reply = forwarding.post("/v2/models/m/infer", body, "application/json")
    message = (
        f"unexpected error; the log of the web process has it as {reply.headers['x-request-id']}"
    )
    assert (reply.status, reply.json) == (500, {"error": message})
