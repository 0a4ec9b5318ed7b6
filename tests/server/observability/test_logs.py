"""What the server logs: for machines and for people, a line for each call, no bytes of images."""

import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.calls import (
    LOOPBACK,
    connected,
    health,
    image_request,
    refused,
    rejection,
    signal_request,
    wait_until,
)
from support.images import encode, picture
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.server.observability.library_logs import relay_library_logs
from convscope.server.observability.logs import _for_people
from convscope.v1 import inference_pb2 as pb

STAGES = ("decode_ms", "queue_ms", "infer_ms", "encode_ms")
PAYLOAD = b"zqxj-kvwq-jzxk-qwvz"  # no part of it is part of a word


@pytest.fixture(scope="module")
def server(tiny_repository: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tiny_repository) as server:
        yield server


def call(server: ServerProcess, request: pb.ClassifyRequest, request_id: str) -> dict[str, Any]:
    """Send a request, and return its log line."""
    with connected(server) as stub:
        stub.Classify(request, timeout=30, metadata=(("x-request-id", request_id),))
    return line_of(server, request_id)


def line_of(server: ServerProcess, request_id: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [line for line in list(server.log) if line.get("request_id") == request_id]

    wait_until(lambda: bool(found()))
    (line,) = found()
    return line


def test_line_of_a_call(server: ServerProcess) -> None:
    line = call(server, image_request(), "photo 1")
    expected = {
        "event": "call",
        "method": "Classify",
        "code": "OK",
        "model": "tiny",
        "version": 1,
        "images": 1,
        "failed_images": 0,
    }
    assert expected.items() <= line.items()
    stages = [line[stage] for stage in STAGES]
    assert all(stage >= 0 for stage in stages)
    assert line["decode_ms"] > 0
    assert sum(stages) <= line["milliseconds"] + 0.02  # each is rounded
    assert "trace_id" not in line
    assert "error" not in line


def test_stages_are_those_of_the_slowest_input(server: ServerProcess) -> None:
    line = call(server, signal_request(20), "signals")
    assert line["images"] == 20
    assert line["decode_ms"] == 0
    assert line["queue_ms"] + line["infer_ms"] <= line["milliseconds"] + 0.02


def test_line_of_a_call_without_stages(server: ServerProcess) -> None:
    with connected(server) as stub:
        stub.ListModels(pb.ListModelsRequest(), timeout=30, metadata=(("x-request-id", "list"),))
    line = line_of(server, "list")
    assert (line["method"], line["model"]) == ("ListModels", None)
    assert not set(STAGES) & set(line)


def test_failed_call_is_logged_with_the_message_to_its_caller(server: ServerProcess) -> None:
    with connected(server) as stub:
        _, message = rejection(
            stub.Classify, image_request(model="cat"), metadata=(("x-request-id", "no cat"),)
        )
    line = line_of(server, "no cat")
    assert (line["code"], line["error"]) == ("NOT_FOUND", message)


def test_long_names_of_a_caller_are_cut_in_the_log(server: ServerProcess) -> None:
    with connected(server) as stub:
        rejection(
            stub.Classify,
            image_request(model="x" * 100_000),
            metadata=(("x-request-id", "endless"),),
        )
    assert len(json.dumps(line_of(server, "endless"))) < 1500


# Request ids


def sent_back(metadata: Any) -> list[str]:
    return [value for key, value in metadata if key == "x-request-id"]


def test_callers_id_is_sent_back(server: ServerProcess) -> None:
    with connected(server) as stub:
        _, done = stub.Classify.with_call(
            image_request(), timeout=30, metadata=(("x-request-id", "b7/2"),)
        )
        error = refused(stub.Classify, image_request(b"text"), metadata=(("x-request-id", "b7/3"),))
        stream = stub.ClassifyStream(
            iter([pb.ClassifyStreamRequest(request=image_request())]),
            timeout=30,
            metadata=(("x-request-id", "b7/4"),),
        )
        assert len(list(stream)) == 1
    assert sent_back(done.trailing_metadata()) == ["b7/2"]
    assert sent_back(error.trailing_metadata()) == ["b7/3"]
    assert sent_back(stream.trailing_metadata()) == ["b7/4"]


@pytest.mark.parametrize("unfit", ["", "x" * 129], ids=["empty", "long"])
def test_unfit_id_is_replaced(server: ServerProcess, unfit: str) -> None:
    with connected(server) as stub:
        error = refused(stub.Classify, image_request(b"text"), metadata=(("x-request-id", unfit),))
    (request_id,) = sent_back(error.trailing_metadata())
    assert request_id != unfit
    assert line_of(server, request_id)["code"] == "INVALID_ARGUMENT"


def test_failed_calls_have_ids_of_their_own(server: ServerProcess) -> None:
    with connected(server) as stub:
        errors = [refused(stub.Classify, image_request(b"text")) for _ in range(2)]
    ids = [request_id for error in errors for request_id in sent_back(error.trailing_metadata())]
    assert len(set(ids)) == 2
    assert [line_of(server, request_id)["images"] for request_id in ids] == [1, 1]


# Images


def test_no_byte_of_an_image_is_logged(tiny_repository: Path) -> None:
    good = encode(picture())
    bad = [PAYLOAD, PAYLOAD * 1000, good[: len(good) // 2] + PAYLOAD, good[:8] + PAYLOAD]
    with ServerProcess(tiny_repository) as server:
        with connected(server) as stub:
            for image in bad:
                rejection(stub.Classify, image_request(image))
            stub.Classify(image_request(good, *bad), timeout=30)
            request = pb.ClassifyStreamRequest(request=image_request(PAYLOAD))
            assert len(list(stub.ClassifyStream(iter([request]), timeout=30))) == 1
        server.stop()
    text = json.dumps(server.log)
    assert len([line for line in server.log if line["event"] == "call"]) == len(bad) + 2
    assert not any(PAYLOAD[i : i + 4].decode() in text for i in range(len(PAYLOAD) - 3))


# Formats


def test_every_line_off_a_terminal_is_json(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    broken = write_tiny(tmp_path, "broken")
    (broken / "model.onnx").write_bytes(b"")
    with ServerProcess(tmp_path, "--no-strict-readiness") as server:
        with connected(server) as stub:
            stub.Classify(image_request(), timeout=30)
            rejection(stub.Classify, image_request(model="cat"))
        assert health(server) == "SERVING"
        server.stop()
    events = {line["event"] for line in server.log}
    assert events >= {"serving", "call", "draining", "stopped"}
    assert "call it from another terminal" not in events  # it is for people
    assert all("timestamp" in line for line in server.log)  # a line that isn't JSON has none


def read_until(terminal: int, word: str) -> str:
    text = ""
    while word not in text:
        text += os.read(terminal, 4096).decode()
    return text


def test_people_at_a_terminal_get_lines_to_read(tiny_repository: Path) -> None:
    ours, theirs = pty.openpty()
    flags = ("--models", str(tiny_repository), *LOOPBACK, "--no-tuning", "--drain-seconds", "0")
    process = subprocess.Popen([sys.executable, "-m", "convscope.server", *flags], stderr=theirs)
    os.close(theirs)
    started = read_until(ours, "models --server localhost:")
    assert "serving" in started.partition("call it from another terminal")[0]
    process.send_signal(signal.SIGTERM)
    text = read_until(ours, "stopped")
    assert process.wait(30) == 0
    os.close(ours)
    assert "\x1b[" in text
    assert '{"' not in text


# Library logs


def test_repeated_library_warning_is_logged_once_a_minute() -> None:
    relay_library_logs("chatterbox")
    chatterbox = logging.getLogger("chatterbox.deep.inside")
    with capture_logs() as lines:
        for number in range(100):
            chatterbox.warning("Dropped %d things", number)
        chatterbox.error("Something else")
        chatterbox.info("All is well")
    assert [line["reason"] for line in lines] == ["Dropped 0 things", "Something else"]
    assert [line["log_level"] for line in lines] == ["warning", "error"]
    assert {line["library"] for line in lines} == {"chatterbox"}


def test_lines_for_people_begin_with_the_model_and_keep_the_order_of_the_keys() -> None:
    rendered: Any = {"event": "tuned", "seconds": 1.5, "model": "tiny", "version": 2, "batch": 4}
    for processor in _for_people():
        rendered = processor(None, "info", rendered)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", rendered)
    assert plain.split()[-4:] == ["model=tiny", "version=2", "seconds=1.5", "batch=4"]
