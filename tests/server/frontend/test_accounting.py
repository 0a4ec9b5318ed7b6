"""Around every call: parsing, deadlines, unexpected errors, the access log."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from PIL import Image
from support.alterations import slow_down, stumble_over_white
from support.calls import (
    connected,
    image_request,
    refused,
    rejection,
    sample,
    signal_request,
    wait_until,
)
from support.images import encode, picture
from support.server import ServerProcess
from support.tiny import write_signal, write_tiny

from convscope.v1 import inference_pb2 as pb

METHOD = "/convscope.v1.ClassifierService/Classify"
TURNS = 400_000  # of the slow model: half a second or so


@pytest.fixture(scope="module")
def raw(tiny_server: ServerProcess) -> Iterator[Any]:
    """Classify, for requests that are any bytes."""
    with grpc.insecure_channel(tiny_server.target) as channel:
        yield channel.unary_unary(METHOD)


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x7f", b"hello"])
def test_request_that_cannot_be_parsed(raw: Any, data: bytes) -> None:
    code, message = rejection(raw, data)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message == f"the request's {len(data)} bytes can't be parsed as the method's message"


def test_request_above_the_limit(raw: Any) -> None:
    code, message = rejection(raw, bytes(9 * 2**20))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message == (
        "the request has 9,437,184 bytes; at most 8,388,608 are accepted; "
        "use fewer or smaller images"
    )


def test_request_far_above_the_limit_is_not_even_received(raw: Any) -> None:
    code, message = rejection(raw, bytes(17 * 2**20))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in message


def test_unknown_method(tiny_server: ServerProcess) -> None:
    with grpc.insecure_channel(tiny_server.target) as channel:
        code, message = rejection(channel.unary_unary(f"{METHOD}More"), b"")
    assert (code, bool(message)) == (grpc.StatusCode.UNIMPLEMENTED, True)


# A server for one test


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ServerProcess]:
    write_tiny(tmp_path)
    write_signal(tmp_path)
    with ServerProcess(tmp_path) as server:
        yield server


def test_unexpected_error_gets_an_id_that_the_log_explains(tmp_path: Path) -> None:
    write_tiny(tmp_path, alter_graph=stumble_over_white)
    white = image_request(encode(Image.new("RGB", (20, 20), "white")))
    with ServerProcess(tmp_path) as server, connected(server) as stub:
        code, message = rejection(stub.Classify, white)
        assert stub.Classify(image_request(), timeout=30).model == "tiny"
        assert code is grpc.StatusCode.INTERNAL
        (error_id,) = re.findall(r"under the id ([0-9a-f]{16})$", message)
        wait_until(lambda: any(line.get("error_id") == error_id for line in server.log))
        (explained,) = [line for line in server.log if line.get("error_id") == error_id]
    assert "Gather" in str(explained["exception"])
    assert "Gather" not in message


def test_feature_maps_of_a_version_whose_files_are_gone_can_be_requested_again(
    own: ServerProcess, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "tiny")  # the session with feature maps is yet to be made from it
    selection = pb.FeatureMapSelection(name="conv")
    with connected(own) as stub:
        code, message = rejection(stub.Classify, image_request(feature_maps=[selection]))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert message == "the files of tiny v1 are gone; call again"


def calls(server: ServerProcess) -> list[dict[str, Any]]:
    return [line for line in server.log if line["event"] == "call"]


def test_every_call_is_a_line_in_the_log(own: ServerProcess) -> None:
    with connected(own) as stub:
        stub.Classify(image_request(b"text", encode(picture())), timeout=30)
        rejection(stub.Classify, image_request(model="cat"))
    wait_until(lambda: len(calls(own)) == 2)
    ok, rejected = calls(own)
    expected = {"method": "Classify", "code": "OK", "model": "tiny", "version": 1}
    assert expected.items() <= ok.items()
    assert (ok["images"], ok["failed_images"]) == (2, 1)
    assert ok["milliseconds"] > 0
    assert (rejected["code"], rejected["model"]) == ("NOT_FOUND", None)


def test_log_can_be_turned_off(tmp_path: Path) -> None:
    write_signal(tmp_path)
    with ServerProcess(tmp_path, "--no-access-log") as server:
        with connected(server) as stub:
            stub.Classify(signal_request(), timeout=30)
        server.stop()
        assert calls(server) == []


# Deadlines


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root = tmp_path_factory.mktemp("slow")
    write_tiny(root, "slow", alter_graph=slow_down(TURNS))
    with ServerProcess(root, "--max-batch", "1", "--max-queue", "2") as server:
        yield server


def batches(server: ServerProcess) -> float:
    return sample(server, "convscope_batch_images_count", model="slow")


def running(server: ServerProcess) -> float:
    return sample(server, "convscope_batches_running", model="slow")


def waiting(server: ServerProcess) -> float:
    return sample(server, "convscope_queue_images", model="slow")


def test_deadline_that_passes_in_the_queue_is_not_run(slow: ServerProcess) -> None:
    request, before = image_request(model="slow"), batches(slow)
    with connected(slow) as stub:
        first = stub.Classify.future(request, timeout=30)
        wait_until(lambda: running(slow) == 1)
        code, _ = rejection(stub.Classify, request, timeout=0.1)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert first.result(timeout=30).model == "slow"
        stub.Classify(request, timeout=30)
    assert batches(slow) == before + 2


def test_deadline_that_passes_in_flight_leaves_the_server_serving(slow: ServerProcess) -> None:
    request = image_request(model="slow")
    with connected(slow) as stub:
        code, _ = rejection(stub.Classify, request, timeout=0.1)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert stub.Classify(request, timeout=30).model == "slow"
    wait_until(lambda: sample(slow, "grpc_server_handled_total", grpc_code="DeadlineExceeded") >= 1)


def test_full_queue_is_rejected_with_a_retry_delay(slow: ServerProcess) -> None:
    request = image_request(model="slow")
    with connected(slow) as stub:
        calls = [stub.Classify.future(request, timeout=60)]
        wait_until(lambda: running(slow) == 1)
        calls += [stub.Classify.future(request, timeout=60) for _ in range(2)]
        wait_until(lambda: waiting(slow) == 2)
        error = refused(stub.Classify, request)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == "the queue of slow is full (2 images); retry later"
        pushback = ("grpc-retry-pushback-ms", "100")
        assert pushback in [tuple(item) for item in error.trailing_metadata()]
        assert [call.result(timeout=60).model for call in calls] == ["slow"] * 3


def test_cancelled_call_leaves_the_queue(slow: ServerProcess) -> None:
    request = image_request(model="slow")
    with connected(slow) as stub:
        before = batches(slow)
        first = stub.Classify.future(request, timeout=30)
        wait_until(lambda: running(slow) == 1)
        second = stub.Classify.future(request, timeout=30)
        wait_until(lambda: waiting(slow) == 1)
        second.cancel()
        wait_until(lambda: waiting(slow) == 0)
        assert first.result(timeout=30).model == "slow"
    assert batches(slow) == before + 1
    wait_until(lambda: sample(slow, "grpc_server_handled_total", grpc_code="Canceled") >= 1)
