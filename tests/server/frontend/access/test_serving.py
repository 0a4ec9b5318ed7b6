"""A server with a policy: models, rates, reloads, and secrets that appear nowhere."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.access import PolicyFile, bearer
from support.alterations import slow_down
from support.calls import image_request, refused, rejection, sample, signal_request, wait_until
from support.images import encode, picture
from support.server import ServerProcess
from support.tiny import write_signal, write_tiny

from convscope.client._connection.channel import service_config
from convscope.client._connection.retries import Retries
from convscope.open_inference import open_inference_pb2 as oip
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

pytestmark = pytest.mark.one_transport("starts a server on each transport itself")

CALLERS = {
    "all": "",
    "limited": 'models = ["tiny"]',
    "pattern": 'models = ["t*"]',
    "rated": "images_per_second = 0.01\nburst_seconds = 100",
    "counted": "images_per_second = 0.01\nburst_seconds = 100",
    "health": "bytes_per_second = 10\nburst_seconds = 1",
    "bytes": "bytes_per_second = 10\nburst_seconds = 1",
    "paced": "images_per_second = 40\nburst_seconds = 0.1",
    "waiting": "images_per_second = 5\nburst_seconds = 0.1",
    "occluding": "images_per_second = 0.1\nburst_seconds = 100",
    "small": "concurrent_bytes = 1",
    "revoked": "",
    "reloaded": "images_per_second = 0.01\nburst_seconds = 100",
}
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
PERMISSION_DENIED = grpc.StatusCode.PERMISSION_DENIED
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


class Served:
    """A server, its policy and a channel."""

    def __init__(self, server: ServerProcess, policy: PolicyFile, channel: grpc.Channel) -> None:
        self.server = server
        self.policy = policy
        self.channel = channel
        self.stub = inference_pb2_grpc.ClassifierServiceStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)

    def by(self, caller: str) -> dict[str, Any]:
        """The options of a call by a caller."""
        return {"metadata": self.policy.metadata(caller), "timeout": 30}

    def open_inference(self, method: str, request: Message, reply: Any, caller: str) -> Any:
        """Call a method of the Open Inference Protocol."""
        path = f"/inference.GRPCInferenceService/{method}"
        call = self.channel.unary_unary(path, type(request).SerializeToString, reply.FromString)
        return call(request, **self.by(caller))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.server.log if line["event"] == name]


@pytest.fixture(scope="module")
def served(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("models")
    write_tiny(root)
    write_signal(root)
    write_tiny(root, "slow", alter_graph=slow_down(200_000))
    policy = PolicyFile(tmp_path_factory.mktemp("policy"), CALLERS)
    flags = ("--policy", str(policy.path), "--transport", transport)
    with (
        ServerProcess(root, *flags) as server,
        grpc.insecure_channel(server.target, [("grpc.enable_retries", 0)]) as channel,
    ):
        yield Served(server, policy, channel)


# Models


def test_a_model_that_the_caller_may_use(served: Served) -> None:
    assert served.stub.Classify(image_request(), **served.by("limited")).model == "tiny"
    assert served.stub.Classify(image_request(), **served.by("pattern")).model == "tiny"
    (line,) = [one for one in served.events("call") if one.get("caller") == "limited"]
    assert line["code"] == "OK"


@pytest.mark.parametrize("name", ["signal", "nothing"])
def test_another_model_is_denied_whether_or_not_it_exists(served: Served, name: str) -> None:
    expected = (
        PERMISSION_DENIED,
        f"the caller 'limited' may not use a model named '{name}'; the server's operator can "
        "allow it in the policy",
    )
    options, stub = served.by("limited"), served.stub
    assert rejection(stub.Classify, signal_request(model=name), **options) == expected
    assert rejection(stub.GetModel, pb.GetModelRequest(model=name), **options) == expected
    (reply,) = stub.ClassifyStream(
        iter([pb.ClassifyStreamRequest(request=signal_request(model=name))]), **options
    )
    assert (reply.error.code, reply.error.message) == (7, expected[1])
    for method, request, kind in (
        ("ModelInfer", oip.ModelInferRequest(model_name=name), oip.ModelInferResponse),
        ("ModelReady", oip.ModelReadyRequest(name=f"{name}.features"), oip.ModelReadyResponse),
        ("ModelMetadata", oip.ModelMetadataRequest(name=name), oip.ModelMetadataResponse),
        ("ModelConfig", oip.ModelConfigRequest(name=name), oip.ModelConfigResponse),
        ("ModelStatistics", oip.ModelStatisticsRequest(name=name), oip.ModelStatisticsResponse),
        (
            "ModelStatistics",
            oip.ModelStatisticsRequest(name=name, version="1"),
            oip.ModelStatisticsResponse,
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            served.open_inference(method, request, kind, "limited")
        assert (caught.value.code(), caught.value.details()) == expected


def test_lists_have_the_models_of_the_caller(served: Served) -> None:
    def names(caller: str) -> list[str]:
        reply = served.stub.ListModels(pb.ListModelsRequest(), **served.by(caller))
        return [one.model for one in reply.models]

    assert names("all") == ["signal", "slow", "tiny"]
    assert names("limited") == names("pattern") == ["tiny"]
    index = served.open_inference(
        "RepositoryIndex", oip.RepositoryIndexRequest(), oip.RepositoryIndexResponse, "limited"
    )
    assert {one.name.partition(".")[0] for one in index.models} == {"tiny"}
    statistics = served.open_inference(
        "ModelStatistics", oip.ModelStatisticsRequest(), oip.ModelStatisticsResponse, "limited"
    )
    assert [one.name for one in statistics.model_stats] == ["tiny"]


def test_messages_name_no_other_models(served: Served) -> None:
    options = served.by("pattern")
    assert rejection(served.stub.Classify, image_request(model="tinx"), **options) == (
        grpc.StatusCode.NOT_FOUND,
        "no model 'tinx'; this server has: tiny",
    )
    assert rejection(served.stub.GetModel, pb.GetModelRequest(), **options) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "the request names no model; this server has: tiny",
    )
    assert rejection(served.stub.Classify, image_request(model=""), **options) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "the request names no model; this server has: tiny",
    )
    _, message = rejection(served.stub.Classify, image_request(model="x"), **served.by("all"))
    assert message == "no model 'x'; this server has: signal, slow, tiny"


def test_health_of_models_is_shown_to_those_who_may_use_them(served: Served) -> None:
    def status(service: str, **options: Any) -> Any:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            return served.health.Check(request, **{"timeout": 30, **options}).status
        except grpc.RpcError as error:
            return error.code()

    watched = served.health.Watch(health_pb2.HealthCheckRequest(service="signal"), timeout=30)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watched.cancel()
    assert status("") == health_pb2.HealthCheckResponse.SERVING
    assert status("", metadata=bearer("wrong")) == health_pb2.HealthCheckResponse.SERVING
    assert status("signal") is grpc.StatusCode.NOT_FOUND
    assert status("signal", **served.by("limited")) is grpc.StatusCode.NOT_FOUND
    assert status("signal", **served.by("all")) == health_pb2.HealthCheckResponse.SERVING
    known = served.health.List(health_pb2.HealthListRequest(), **served.by("limited")).statuses
    assert {name for name in known if "." not in name} == {"", "tiny"}


# Denials at the head


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([], "the call has no credentials"),
        (bearer("cvs_wrong"), "the token is not valid"),
        ([("authorization", "Basic YTpi")], "another form than: Bearer TOKEN"),
        ([("authorization", "Bearer")], "another form than: Bearer TOKEN"),
        (bearer("a.b.c"), "the token is not valid"),
    ],
)
def test_no_or_wrong_credentials(served: Served, metadata: Any, message: str) -> None:
    error = refused(served.stub.Classify, image_request(), metadata=metadata)
    assert error.code() is UNAUTHENTICATED
    assert message in error.details()


def test_two_credentials_are_ambiguous(served: Served) -> None:
    """A proxy in front of the server could have checked the other one."""
    for first, second in (("all", "limited"), ("all", "all")):
        metadata = (*served.policy.metadata(first), *served.policy.metadata(second))
        error = refused(served.stub.Classify, image_request(), metadata=metadata)
        assert error.code() is UNAUTHENTICATED
        assert "more than once" in error.details()


def test_a_call_is_denied_before_its_request_is_received(served: Served) -> None:
    never = threading.Event()

    def requests() -> Iterator[bytes]:
        never.wait(30)
        yield b""

    call: Any = served.channel.stream_stream("/convscope.v1.ClassifierService/Classify")
    try:
        with pytest.raises(grpc.RpcError) as caught:
            next(call(requests(), timeout=30))
        assert caught.value.code() is UNAUTHENTICATED
        assert not never.is_set()
    finally:
        never.set()
    wait_until(lambda: bool(served.events("call denied")))
    line = served.events("call denied")[-1]
    assert (line["method"], line["code"]) == ("Classify", "UNAUTHENTICATED")


def test_a_large_request_is_denied_and_the_connection_stays(served: Served) -> None:
    big = image_request(bytes(4_000_000))
    assert rejection(served.stub.Classify, big)[0] is UNAUTHENTICATED
    assert served.stub.Classify(image_request(), **served.by("all")).model == "tiny"


# Rates


def pushback(error: Any) -> int:
    return int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"])


def test_images_above_the_rate(served: Served) -> None:
    options = served.by("rated")
    picture = image_request().inputs[0]
    batch = pb.ClassifyRequest(model="tiny", inputs=[picture] * 3)
    assert len(served.stub.Classify(batch, **options).results) == 3  # more than the burst of 1
    error = refused(served.stub.Classify, image_request(), **options)
    assert error.code() is RESOURCE_EXHAUSTED
    assert "the caller 'rated' is over its 0.01 images per second; retry after" in error.details()
    assert 200_000 < pushback(error) <= 300_001


def test_occluded_images_count_as_images(served: Served) -> None:
    options = served.by("occluding")
    request = image_request()
    selection = request.explanations.add(method=pb.EXPLANATION_METHOD_OCCLUSION)
    selection.occlusion.cells = 4
    assert served.stub.Classify(request, **options).results[0].prediction.explanations
    error = refused(served.stub.Classify, image_request(), **options)
    assert error.code() is RESOURCE_EXHAUSTED
    assert pushback(error) > 50_000  # for 17 images, of which ten were free


def test_health_and_metadata_above_the_rate_of_images(served: Served) -> None:
    options = served.by("counted")
    served.stub.Classify(image_request(), **options)
    assert refused(served.stub.Classify, image_request(), **options).code() is RESOURCE_EXHAUSTED
    assert served.stub.ListModels(pb.ListModelsRequest(), **options).models
    assert served.health.Check(health_pb2.HealthCheckRequest(), **options).status == 1


def test_health_above_the_rate_of_bytes(served: Served) -> None:
    options = served.by("health")
    served.stub.Classify(image_request(), **options)
    assert refused(served.stub.Classify, image_request(), **options).code() is RESOURCE_EXHAUSTED
    request = health_pb2.HealthCheckRequest(service="tiny")
    assert served.health.Check(request, **options).status == 1


def test_bytes_above_the_rate(served: Served) -> None:
    options = served.by("bytes")
    served.stub.Classify(image_request(), **options)
    error = refused(served.stub.Classify, image_request(), **options)
    assert error.code() is RESOURCE_EXHAUSTED
    assert "the caller 'bytes' is over its 10 bytes per second; retry after" in error.details()
    assert pushback(error) > 1000


def test_a_client_with_retries_waits(served: Served) -> None:
    options = [("grpc.service_config", service_config("localhost:1", Retries()))]
    with grpc.insecure_channel(served.server.target, options) as channel:
        stub = inference_pb2_grpc.ClassifierServiceStub(channel)
        for _ in range(4):
            assert stub.Classify(image_request(), **served.by("waiting")).model == "tiny"


def test_a_stream_waits_instead(served: Served) -> None:
    picture = image_request().inputs[0]
    request = pb.ClassifyRequest(model="tiny", inputs=[picture] * 4)
    messages = iter([pb.ClassifyStreamRequest(request=request)] * 5)
    replies = list(served.stub.ClassifyStream(messages, **served.by("paced")))
    assert [len(reply.response.results) for reply in replies] == [4] * 5


def test_concurrent_bytes(served: Served) -> None:
    options = served.by("small")
    request = image_request(model="slow")
    calls = [served.stub.Classify.future(request, **options) for _ in range(4)]
    errors: list[Any] = [call.exception() for call in calls]
    rejected = [error for error in errors if error is not None]
    assert len(rejected) < 4
    for error in rejected:
        assert error.code() is RESOURCE_EXHAUSTED
        assert "the caller 'small' has more than its 1 concurrent bytes" in error.details()
        assert pushback(error) == 100
    assert rejected
    served.stub.Classify(request, **options)  # all are released


def test_streams_that_wait_for_their_rate_leave_memory_to_other_callers(
    transport: str, tmp_path: Path
) -> None:
    write_tiny(tmp_path / "models")
    waiting = "bytes_per_second = 10\nburst_seconds = 1"
    policy = PolicyFile(tmp_path, {"waiting": waiting, "other": ""})
    flags = ("--policy", str(policy.path), "--transport", transport)
    limit = ("--max-memory-in-flight", str(8 * 2**20))
    padding = bytes(2**20)
    message = pb.ClassifyStreamRequest(request=image_request(padding))
    last = threading.Event()

    def messages() -> Iterator[pb.ClassifyStreamRequest]:
        yield message  # the first of all streams overdraws the rate, and the others wait
        yield message
        last.wait(30)

    def is_held() -> bool:
        held = sample(server, "convscope_request_memory_bytes")
        reason = "concurrent_bytes"
        denied = sample(server, "convscope_denied_calls_total", reason=reason)
        return held > 6 * 2**20 or denied > 0

    with (
        ServerProcess(tmp_path / "models", *flags, *limit) as server,
        grpc.insecure_channel(server.target, [("grpc.enable_retries", 0)]) as channel,
    ):
        stub = inference_pb2_grpc.ClassifierServiceStub(channel)
        by_waiting: Any = {"metadata": policy.metadata("waiting"), "timeout": 30}
        streams = [stub.ClassifyStream(messages(), **by_waiting) for _ in range(12)]
        wait_until(is_held)
        by_other: Any = {"metadata": policy.metadata("other"), "timeout": 30}
        for _ in range(20):
            large = image_request(encode(picture()) + padding)
            assert stub.Classify(large, **by_other).model == "tiny"
        last.set()
        for stream in streams:
            stream.cancel()


# Reload


def test_a_revoked_token_ends_streams_and_calls(served: Served) -> None:
    policy, callers = served.policy, dict(CALLERS)
    more = threading.Event()

    def requests() -> Iterator[pb.ClassifyStreamRequest]:
        yield pb.ClassifyStreamRequest(request=image_request())
        more.wait(30)
        yield pb.ClassifyStreamRequest(request=image_request())

    replies = served.stub.ClassifyStream(requests(), **served.by("revoked"))
    assert next(replies).response.model == "tiny"
    options = served.by("revoked")
    del callers["revoked"]
    loaded = len(served.events("policy loaded"))
    policy.write(callers)
    wait_until(lambda: len(served.events("policy loaded")) > loaded)
    more.set()
    with pytest.raises(grpc.RpcError) as caught:
        next(replies)
    assert caught.value.code() is UNAUTHENTICATED
    assert rejection(served.stub.Classify, image_request(), **options)[0] is UNAUTHENTICATED


def test_a_watch_of_a_model_ends_with_the_right_to_use_it(served: Served) -> None:
    callers = {**CALLERS, "watching": 'models = ["signal"]'}
    served.policy.write(callers)
    options = served.by("watching")
    wait_until(lambda: is_admitted(served, options))
    request = health_pb2.HealthCheckRequest(service="signal")
    states = served.health.Watch(request, **options)
    assert next(states).status == health_pb2.HealthCheckResponse.SERVING
    served.policy.write(CALLERS)
    assert next(states).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    states.cancel()


def is_admitted(served: Served, options: dict[str, Any]) -> bool:
    try:
        served.stub.ListModels(pb.ListModelsRequest(), **options)
    except grpc.RpcError:
        return False
    return True


def test_an_invalid_policy_is_not_used(served: Served) -> None:
    def is_failed(value: float) -> Callable[[], bool]:
        return lambda: sample(served.server, "convscope_reload_failed", file="policy") == value

    served.policy.replace("callers = 3")
    wait_until(is_failed(1))
    (line,) = served.events("the policy can't be used; the one before stays in use")
    assert line["level"] == "error"
    assert line["reason"].endswith("callers must be a table, written [callers]")
    assert served.stub.Classify(image_request(), **served.by("all")).model == "tiny"
    served.policy.write(CALLERS)
    wait_until(is_failed(0))


def test_sighup_reloads_and_refills_no_rate(served: Served) -> None:
    options = served.by("reloaded")
    served.stub.Classify(image_request(), **options)
    loaded = len(served.events("policy loaded"))
    served.server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(served.events("policy loaded")) > loaded)
    error = refused(served.stub.Classify, image_request(), **options)
    assert error.code() is RESOURCE_EXHAUSTED
    assert served.stub.Classify(image_request(), **served.by("all")).model == "tiny"


# The last test of a server: what all others have left


def test_denials_are_counted_and_no_secret_is_shown(served: Served) -> None:
    def count(reason: str) -> float:
        return sample(served.server, "convscope_denied_calls_total", reason=reason)

    rejection(served.stub.Classify, signal_request(), **served.by("limited"))
    rejection(served.stub.Classify, image_request())
    assert count("unauthenticated") >= 1
    assert count("model") >= 1
    wait_until(lambda: len(served.events("call")) > 0)
    process = Path(f"/proc/{served.server.process.pid}")
    shown = [
        str(served.server.log),
        served.server.metrics(),
        (process / "cmdline").read_bytes().decode(),
        (process / "environ").read_bytes().decode(errors="replace"),
    ]
    for token in (*served.policy.tokens.values(), "cvs_wrong", "YTpi"):
        for text in shown:
            assert token not in text
