"""No message of a client contains what gRPC says about its own parts."""

import pickle
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.server import ServerProcess

from convscope.client import Client, ConvscopeError, NotFoundError, UnavailableError

SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
GOAWAY = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x02"
RESET = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x02"
RAW = (
    *("UNKNOWN", "errors resolving", "last error", "RST_STREAM", "recvmsg"),
    *("GOAWAY", "Stream removed", "Socket closed", "http2", "field:", "all addresses"),
)
Behavior = Callable[[socket.socket], None]


@pytest.fixture
def listen() -> Iterator[Callable[[Behavior], str]]:
    """Start listeners that treat each connection in their own way."""
    with ExitStack() as stack:

        def start(behavior: Behavior) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            stack.callback(listener.shutdown, socket.SHUT_RDWR)

            def accept() -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                        with connection:
                            behavior(connection)
                    except OSError:
                        if listener.fileno() < 0:
                            return
                        time.sleep(0.01)

            threading.Thread(target=accept, daemon=True).start()
            return f"127.0.0.1:{listener.getsockname()[1]}"

        yield start


def after_the_call(reply: bytes) -> Behavior:
    """Begin HTTP/2, and reply to the call with a frame, or end the connection."""

    def behave(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(SETTINGS)
        time.sleep(0.3)
        connection.recv(1000)
        connection.sendall(reply)
        if not reply:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(0.2 if reply else 0)

    return behave


def failure(caller: Any) -> ConvscopeError:
    with pytest.raises(ConvscopeError) as info:
        caller.models()
    error = info.value
    assert not any(raw in error.message for raw in RAW), error.message
    # The original is available, and a traceback doesn't show it.
    assert isinstance(error.grpc_error, grpc.RpcError)
    assert "debug_error_string" not in "".join(traceback.format_exception(error))
    return error


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("localhost:1", "nothing listens there"),
        ("nowhere.invalid:8001", "the host name is unknown"),
        ("dns:///nowhere.invalid:8001", "the host name is unknown"),
        ("unix:/nowhere/socket", "there is no such socket"),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", "nothing listens there"),
    ],
)
def test_no_connection_has_a_reason_in_plain_english(
    make_caller: Any, target: str, reason: str
) -> None:
    error = failure(make_caller(target, retries=0, timeout_seconds=10))
    assert isinstance(error, UnavailableError)
    assert error.message.startswith(f"no server answers at {target}; check the address")
    assert reason in error.message
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), copied.code) == (type(error), str(error), error.code)
    assert copied.to_dict() == error.to_dict()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "the connection was lost"),
        (GOAWAY, "the server closed the connection"),
        (RESET, "the server ended the call|the connection was lost"),
    ],
)
def test_a_call_that_ends_early_has_one_too(
    make_caller: Any, listen: Any, reply: bytes, reason: str
) -> None:
    error = failure(make_caller(listen(after_the_call(reply)), retries=0, timeout_seconds=10))
    assert any(each in error.message for each in reason.split("|")), error.message


def test_a_message_of_the_server_is_not_taken_for_one_of_grpc(
    make_caller: Any, scripted_server: Any
) -> None:
    target, _ = scripted_server()
    with pytest.raises(ConvscopeError) as info:
        make_caller(target, model="m").classify(b"bad: socket closed, keepalive, goaway")
    assert info.value.message == "no image: bad: socket closed, keepalive, goaway"


def test_what_listens_may_be_no_grpc_server(make_caller: Any, listen: Any) -> None:
    def greet(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"SSH-2.0-OpenSSH_9.0\r\n")
        time.sleep(0.2)

    error = failure(make_caller(listen(greet), retries=0, timeout_seconds=10))
    assert "what listens there is no gRPC server" in error.message


def test_the_health_of_an_unknown_model_names_the_list(
    make_caller: Any, tiny_server: ServerProcess
) -> None:
    caller = make_caller(tiny_server.target)
    with pytest.raises(NotFoundError, match=r"no model 'nope' is loaded; models\(\) lists"):
        caller.health("nope")
    with pytest.raises(ConvscopeError, match="model is 3; give a name"):
        caller.health(3)


def test_a_wait_for_a_model_names_the_argument(make_caller: Any) -> None:
    caller = make_caller("localhost:1")
    with pytest.raises(ConvscopeError, match=r"name a model with wait_ready\(model='digits'\)"):
        caller.wait_ready("digits")
    with pytest.raises(ConvscopeError, match="timeout_seconds is None; give a positive"):
        caller.wait_ready(None)


def test_a_client_that_was_closed_before_its_first_call_is_closed(make_caller: Any) -> None:
    caller = make_caller("localhost:1")
    caller.close()
    with pytest.raises(UnavailableError, match="the client of localhost:1 is closed"):
        caller.models()
    with pytest.raises(UnavailableError, match="the client of localhost:1 is closed"):
        caller.health()


def test_the_repr_names_the_default_model(make_caller: Any) -> None:
    assert "('localhost:1')" in repr(make_caller("localhost:1").client)
    named = make_caller("localhost:1", model="digits").client
    assert repr(named).endswith("('localhost:1', model='digits')")


def test_a_local_client_never_shows_its_socket(tiny_repository: Path) -> None:
    models = str(tiny_repository)
    client = Client.local(models, model="tiny")
    assert repr(client) == f"Client.local({models!r}, model='tiny')"
    with pytest.raises(NotFoundError) as unknown:
        client.health("nope")
    client.close()
    with pytest.raises(UnavailableError) as closed:
        client.models()
    assert f"the client of the local server of {str(tiny_repository)!r} is closed" in str(
        closed.value
    )
    assert "unix:" not in str(unknown.value) + str(closed.value)
