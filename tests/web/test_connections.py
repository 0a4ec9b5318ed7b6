"""Heads without end, readers that don't read, offers of HTTP/2, and the end of connections."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.calls import wait_until
from support.images import encode, picture
from support.server import ServerProcess
from support.web_process import WebProcess

from convscope.open_inference import open_inference_pb2 as oip
from convscope.web.settings import MIB

pytestmark = pytest.mark.one_transport("sends HTTP to the web process")

TINY = "/v1/models/tiny:classify"
PHOTO = encode(picture())
LARGE = 8 * MIB


@contextmanager
def connected(web: WebProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
        yield connection


def rejection(connection: socket.socket) -> tuple[int, str, str]:
    """Read a reply until the connection closes; return its status, code and message."""
    reply = b""
    while part := connection.recv(65536):
        reply += part
    head, _, body = reply.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    return int(head.split()[1]), error["code"], error["message"]


HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
TRAILER = (
    b"POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
)


def send_until_closed(connection: socket.socket, part: bytes, limit: int) -> int:
    """Return how many bytes the other side accepts."""
    sent = 0
    try:
        while sent < limit:
            connection.sendall(part)
            sent += len(part)
            time.sleep(0.001)
    except OSError:
        pass
    return sent


@pytest.mark.parametrize("start", [HEAD, TRAILER % TINY.encode()], ids=["head", "trailer"])
def test_headers_without_end_are_rejected(web: WebProcess, start: bytes) -> None:
    with connected(web) as connection:
        connection.sendall(start)
        header = b"X-More: %s\r\n" % (b"a" * 65_000)
        assert send_until_closed(connection, header, 64 * MIB) < 16 * MIB


def test_a_head_of_a_usual_size_is_served(web: WebProcess) -> None:
    assert web.get("/healthz", X_Long="a" * 60_000).status == 200
    assert web.get("/healthz", X_Long="a" * 8000, Cookie="b" * 8000).status == 200


def test_what_is_no_http_has_an_error_like_all_others(web: WebProcess) -> None:
    smuggled = (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for sent in (b"hello\r\n\r\n", smuggled, b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with connected(web) as connection:
            connection.sendall(sent)
            assert rejection(connection)[:2] == (400, "INVALID_ARGUMENT")


def test_a_head_that_does_not_arrive_ends_the_connection(grpc_server: ServerProcess) -> None:
    with WebProcess(grpc_server.target, "--upload-timeout", "0.2") as web:
        with connected(web) as connection:
            connection.sendall(HEAD)
            status, _, message = rejection(connection)
        assert (status, message) == (408, "the headers did not arrive within 0.2 s")


UPGRADE = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_caller_that_offers_http2_is_served(web: WebProcess, pieces: int, framing: str) -> None:
    """So do the HTTP clients of Java, and curl --http2."""
    if framing == "length":
        stated, body = f"Content-Length: {len(PHOTO)}", PHOTO
    else:
        stated, body = "Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(PHOTO), PHOTO)
    head = f"POST {TINY} HTTP/1.1\r\nHost: localhost\r\n{stated}\r\n{UPGRADE}\r\n\r\n".encode()
    size = -(-len(head + body) // pieces)
    with connected(web) as connection:
        for start in range(0, len(head + body), size):
            connection.sendall((head + body)[start : start + size])
            time.sleep(0.05)
        assert status_of_reply(connection) == 200
        connection.sendall(
            f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n\r\n".encode()
        )
        assert status_of_reply(connection) == 200


def status_of_reply(connection: socket.socket) -> int:
    """Read a whole reply, which may arrive in parts, and return its status."""
    with HTTPResponse(connection) as reply:
        reply.begin()
        reply.read()
        return reply.status


class Large(grpc.GenericRpcHandler):
    """Replies to each infer request with 8 MiB."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        reply = oip.ModelInferResponse(model_name="m", raw_output_contents=[bytes(LARGE)])
        reply.outputs.add(name="map", datatype="UINT8", shape=[LARGE])
        data = reply.SerializeToString()
        return grpc.unary_unary_rpc_method_handler(lambda request, context: data)


@pytest.fixture(scope="module")
def large() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4), handlers=[Large()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def resident_bytes(web: WebProcess) -> int:
    lines = Path(f"/proc/{web.process.pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


INFER = "/v2/models/m.features/infer"
BODY = b'{"parameters": {"binary_data_output": true}}'


@contextmanager
def unread(web: WebProcess) -> Iterator[None]:
    """Make a request, and don't read its reply."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", web.port))
        head = f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BODY)}\r\n\r\n"
        connection.sendall(head.encode() + BODY)
        yield


@pytest.mark.slow(seconds=5)
def test_replies_that_are_not_read_share_the_memory(large: str) -> None:
    """Forty of them would have 320 MiB."""
    with WebProcess(large, "--max-memory-in-flight", str(64 * MIB)) as web, ExitStack() as stack:
        assert web.post(INFER, BODY).status == 200
        before = resident_bytes(web)
        for _ in range(40):
            stack.enter_context(unread(web))
        time.sleep(2)
        assert resident_bytes(web) - before < 160 * MIB
        assert web.get("/healthz").status == 200


def test_a_caller_that_stops_reading_is_disconnected(large: str) -> None:
    flags = ("--upload-timeout", "0.2", "--max-memory-in-flight", str(16 * MIB))
    with WebProcess(large, *flags) as web:
        with unread(web):
            wait_until(lambda: any(line.get("path") == INFER for line in web.log))
        reply = web.post(INFER, BODY)  # its memory is free again
        assert (reply.status, len(reply.body) > LARGE) == (200, True)


def test_connections_end_with_their_replies_before_the_process_does(
    grpc_server: ServerProcess,
) -> None:
    with WebProcess(grpc_server.target, "--drain-seconds", "60") as web:
        connection = HTTPConnection("127.0.0.1", web.port, timeout=30)
        try:
            connection.request("GET", "/healthz")
            reply = connection.getresponse()
            reply.read()
            assert reply.getheader("connection") is None
            web.process.send_signal(signal.SIGTERM)
            wait_until(lambda: web.get("/readyz").status == 503)
            connection.request("GET", "/healthz")
            reply = connection.getresponse()
            assert (reply.status, reply.getheader("connection")) == (200, "close")
        finally:
            connection.close()
            web.process.send_signal(signal.SIGTERM)
