"""Bodies over a limit, slow uploads, callers that disconnect, deadlines, and memory."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.calls import sample, wait_until
from support.images import encode, picture
from support.server import ServerProcess
from support.web_process import WebProcess, form

from convscope.client import ServerLimits
from convscope.web.settings import MAX_IMAGE_BYTES, MIB

pytestmark = pytest.mark.one_transport("sends HTTP to the web process")

TINY = "/v1/models/tiny:classify"
PHOTO = encode(picture())


@contextmanager
def connected(web: WebProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
        yield connection


def head(length: int | str, path: str = TINY, *, more: str = "") -> bytes:
    framing = f"Content-Length: {length}" if length != "chunked" else "Transfer-Encoding: chunked"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n{more}\r\n".encode()


def read_all(connection: socket.socket) -> bytes:
    """Read until the other side closes the connection."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_the_limit_of_an_image_is_the_clients() -> None:
    assert ServerLimits().max_request_bytes == MAX_IMAGE_BYTES


def test_a_body_over_the_limit_is_rejected_before_it_is_sent(web: WebProcess) -> None:
    with connected(web) as connection:
        connection.sendall(head(100 * MIB, more="Expect: 100-continue\r\n"))
        reply = read_all(connection)
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"the body has 104,857,600 bytes; the limit of a request is 8,3" in reply


def test_a_body_of_unknown_length_is_cut_at_the_limit(web: WebProcess) -> None:
    chunk = b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"
    with connected(web) as connection:
        connection.sendall(head("chunked"))
        for _ in range(9):
            connection.sendall(chunk)
        reply = read_all(connection)
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"the body has more bytes" in reply


def test_a_large_image_in_a_form_has_the_message_of_the_client(web: WebProcess) -> None:
    status, code, message = web.post_form(TINY, bytes(8 * MIB + 1)).error
    assert (status, code) == (413, "INVALID_ARGUMENT")
    assert "the image has 8,388,609 bytes; the limit of an image is 8,388,608 bytes" in message


def test_a_body_of_unknown_length_is_served(web: WebProcess) -> None:
    with connected(web) as connection:
        connection.sendall(head("chunked", more="Connection: close\r\n"))
        for start in range(0, len(PHOTO), 1000):
            part = PHOTO[start : start + 1000]
            connection.sendall(b"%x\r\n" % len(part) + part + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        reply = read_all(connection)
    assert reply.startswith(b"HTTP/1.1 200 ")


def test_a_slow_upload_is_cut(grpc_server: ServerProcess) -> None:
    with WebProcess(grpc_server.target, "--upload-timeout", "0.3") as web:
        with connected(web) as connection:
            connection.sendall(head(len(PHOTO)) + PHOTO[:100])
            reply = read_all(connection)
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert b"nothing of the body arrived for 0.3 s" in reply
        assert web.post(TINY, PHOTO).status == 200


def test_an_upload_that_trickles_is_cut_by_the_timeout(web: WebProcess) -> None:
    with connected(web) as connection:
        connection.sendall(head(len(PHOTO), f"{TINY}?timeout=0.4") + PHOTO[:100])
        connection.settimeout(0.05)
        reply = b""
        for byte in PHOTO[100:]:
            connection.sendall(bytes((byte,)))
            try:
                reply = connection.recv(65536)
                break
            except TimeoutError:
                continue
    assert reply.startswith(b"HTTP/1.1 504 ")


@pytest.fixture(scope="module")
def holding(web_repository: Path) -> Iterator[ServerProcess]:
    """A server that waits for a fuller batch for longer than a test, and queues few images."""
    flags = ("--max-delay-seconds", "60", "--max-queue", "2")
    with ServerProcess(web_repository, *flags) as server:
        yield server


@pytest.fixture(scope="module")
def patient(holding: ServerProcess) -> Iterator[WebProcess]:
    """A web process in front of it."""
    with WebProcess(holding.target) as web:
        yield web


def started(server: ServerProcess) -> float:
    return sample(server, "grpc_server_started_total", grpc_method="Classify")


def test_a_deadline_that_passes_is_reported(patient: WebProcess) -> None:
    status, code, message = patient.post(f"{TINY}?timeout=0.3", PHOTO).error
    assert (status, code) == (504, "DEADLINE_EXCEEDED")
    assert message


def test_a_disconnect_cancels_the_call(holding: ServerProcess, patient: WebProcess) -> None:
    def canceled() -> float:
        return sample(holding, "grpc_server_handled_total", grpc_code="Canceled")

    calls, cancellations = started(holding), canceled()
    with connected(patient) as connection:
        connection.sendall(head(len(PHOTO)) + PHOTO)
        wait_until(lambda: started(holding) > calls)
    wait_until(lambda: canceled() > cancellations)
    wait_until(lambda: any(line.get("status") == 499 for line in patient.log))


def test_a_full_queue_says_when_to_retry(holding: ServerProcess, patient: WebProcess) -> None:
    calls = started(holding)
    with connected(patient) as first, connected(patient) as second:
        # Their ids keep them from sharing a request.
        for name, connection in (("a", first), ("b", second)):
            connection.sendall(head(len(PHOTO), more=f"X-Request-Id: {name}\r\n") + PHOTO)
        wait_until(lambda: started(holding) >= calls + 2)
        reply = patient.post(TINY, PHOTO)
    status, code, message = reply.error
    assert (status, code) == (429, "RESOURCE_EXHAUSTED")
    assert reply.headers["retry-after"] == "1"
    assert "queue" in message


def test_uploads_wait_for_memory_and_are_rejected_if_it_stays_in_use(
    grpc_server: ServerProcess,
) -> None:
    large = PHOTO + bytes(340_000)  # what follows a PNG is ignored
    with WebProcess(grpc_server.target, "--max-memory-in-flight", str(MIB)) as web:
        with connected(web) as connection:
            connection.sendall(head(len(large), more="Connection: close\r\n") + large[:1000])
            time.sleep(0.1)  # so that it is first
            reply = web.post(f"{TINY}?timeout=0.3", large)
            assert reply.error[:2] == (429, "RESOURCE_EXHAUSTED")
            assert "memory for requests is in use" in reply.error[2]
            assert reply.headers["retry-after"] == "1"
            with connected(web) as waiting:
                waiting.sendall(head(len(large), more="Connection: close\r\n") + large)
                connection.sendall(large[1000:])
                replies = read_all(connection), read_all(waiting)
        assert [reply[:13] for reply in replies] == [b"HTTP/1.1 200 "] * 2


async def post(web: WebProcess, body: bytes, path: str) -> bytes:
    """Make a request with a connection of its own; return the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    try:
        writer.write(head(len(body), path, more="Connection: close\r\n") + body)
        reply = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    status, _, content = reply.partition(b"\r\n\r\n")
    assert json.loads(content), status
    return status[9:12]


@pytest.mark.slow(seconds=5)
def test_a_thousand_concurrent_calls_are_answered(web: WebProcess) -> None:
    async def run() -> list[bytes]:
        return await asyncio.gather(*(post(web, PHOTO, TINY) for _ in range(1000)))

    assert asyncio.run(run()) == [b"200"] * 1000


@pytest.mark.slow(seconds=5)
def test_a_thousand_concurrent_inferences_are_answered(web: WebProcess) -> None:
    tensor = {"name": "images", "shape": [1, 16, 16, 3], "datatype": "UINT8", "data": [0] * 768}
    body = json.dumps({"inputs": [tensor]}).encode()

    async def run() -> list[bytes]:
        path = "/v2/models/tiny/infer"
        return await asyncio.gather(*(post(web, body, path) for _ in range(1000)))

    assert asyncio.run(run()) == [b"200"] * 1000


def peak_kilobytes(web: WebProcess) -> int:
    lines = Path(f"/proc/{web.process.pid}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak)


@pytest.mark.slow(seconds=5)
def test_large_uploads_share_the_memory(grpc_server: ServerProcess) -> None:
    """Together they have 64 MB, and many times that as copies."""
    body, content_type = form(PHOTO + bytes(MIB // 2))
    large = f"Content-Type: {content_type}\r\nConnection: close\r\n"
    with WebProcess(grpc_server.target, "--max-memory-in-flight", str(8 * MIB)) as web:

        async def upload() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
            writer.write(head(len(body), more=large) + body)
            reply = await reader.read()
            writer.close()
            return reply[9:12]

        async def run() -> list[bytes]:
            return await asyncio.gather(*(upload() for _ in range(128)))

        assert web.post(TINY, PHOTO).status == 200
        before = peak_kilobytes(web)
        assert asyncio.run(run()) == [b"200"] * 128
        assert peak_kilobytes(web) - before < 60_000
