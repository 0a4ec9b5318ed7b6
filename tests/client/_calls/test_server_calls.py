"""health, wait_ready and server_info of both clients."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.alterations import flip_byte
from support.server import ServerProcess
from support.tiny import write_signal, write_tiny

from convscope.client import (
    DeadlineExceededError,
    Health,
    InternalError,
    NotFoundError,
    ServerInfo,
    ServerLimits,
    UnavailableError,
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


# Health


def test_the_health_of_a_server_and_of_a_model(
    make_caller: Any, tiny_server: ServerProcess
) -> None:
    caller = make_caller(tiny_server.target)
    assert caller.health() is caller.health("tiny") is Health.SERVING
    assert caller.health()
    with pytest.raises(NotFoundError, match="no model 'cat' is loaded"):
        caller.health("cat")


def test_a_model_without_a_ready_version_is_not_serving(make_caller: Any, tmp_path: Path) -> None:
    write_signal(tmp_path)
    flip_byte(write_tiny(tmp_path, "broken") / "model.onnx", 9)
    with ServerProcess(tmp_path) as server:
        caller = make_caller(server.target)
        assert caller.health("broken") is caller.health() is Health.NOT_SERVING
        assert not caller.health()
        assert caller.health("signal")
        with pytest.raises(DeadlineExceededError) as caught:
            caller.wait_ready(0.3, "broken")
    assert str(caught.value) == (
        f"the model 'broken' at {server.target} was not ready within 0.3 s; the last health check "
        "failed: it reports that it is not serving"
    )


def test_the_health_of_a_missing_server(make_caller: Any) -> None:
    with pytest.raises(UnavailableError, match=r"no server answers at localhost:1\b"):
        make_caller("localhost:1").health()


# Waiting


def test_waiting_for_a_server_that_starts_later(make_caller: Any, tiny_repository: Path) -> None:
    port = free_port()
    started: list[ServerProcess] = []

    def start() -> None:
        time.sleep(0.5)
        started.append(ServerProcess(tiny_repository, "--grpc-address", f"127.0.0.1:{port}"))

    thread = threading.Thread(target=start)
    thread.start()
    try:
        caller = make_caller(f"127.0.0.1:{port}")
        caller.wait_ready(60)
        caller.wait_ready(60, "tiny")
        assert caller.health()
    finally:
        thread.join()
        started[0].stop()


def test_the_last_reason_is_part_of_the_error(make_caller: Any) -> None:
    with pytest.raises(DeadlineExceededError) as caught:
        make_caller("127.0.0.1:1").wait_ready(0.3)
    assert str(caught.value).startswith(
        "127.0.0.1:1 was not ready within 0.3 s; the last health check failed: no server answers"
    )


def test_a_server_that_never_replies_is_waited_for(make_caller: Any, silent_target: str) -> None:
    with pytest.raises(DeadlineExceededError, match=r"was not ready within 0\.2 s"):
        make_caller(silent_target).wait_ready(0.2)


def test_what_waiting_cannot_change_is_raised_at_once(
    make_caller: Any, scripted_server: Any
) -> None:
    target, _ = scripted_server()  # it has no health service
    with pytest.raises(InternalError, match="is not a convscope server"):
        make_caller(target).wait_ready(60)


# The server's description


def test_a_server_describes_itself(make_caller: Any, tiny_repository: Path) -> None:
    flags = ("--max-inputs", "5", "--max-image-side", "1000")
    with ServerProcess(tiny_repository, *flags) as server:
        info = make_caller(server.target).server_info()
    assert info.version == "0.1.0"
    assert info.transport in ("http2", "grpc-aio")
    assert info.limits == ServerLimits(max_inputs=5, max_image_side=1000)


def test_a_server_without_flags_has_the_default_limits(
    make_caller: Any, tiny_server: ServerProcess
) -> None:
    assert make_caller(tiny_server.target).server_info().limits == ServerLimits()


def test_an_older_server_has_the_default_limits(make_caller: Any, scripted_server: Any) -> None:
    target, _ = scripted_server()
    assert make_caller(target).server_info() == ServerInfo(None, None, ServerLimits())


def test_other_failures_are_raised(make_caller: Any) -> None:
    with pytest.raises(UnavailableError) as caught:
        make_caller("127.0.0.1:1").server_info()
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
