"""The listener for Prometheus, next to callers that send nothing, or read nothing."""

import gzip
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from support.calls import run_to_end
from support.certificates import make_certificate
from support.server import ServerProcess

from convscope.server.observability.metrics import MetricsServer, connections

TOKEN = "0123456789abcdef-token"
IDLE = 1000


def scrape(
    port: int, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        reply = connection.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
    finally:
        connection.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("test_calls", "Calls.", registry=registry).inc(3)
    return registry


@pytest.fixture
def start(registry: CollectorRegistry) -> Iterator[Callable[..., int]]:
    """Start a listener, and return its port."""
    with ExitStack() as stack:

        def start(**options: Any) -> int:
            server = MetricsServer(registry, "127.0.0.1", 0, **options)
            stack.callback(server.close)
            return server.port

        yield start


@pytest.fixture
def port(start: Callable[..., int]) -> int:
    return start()


def connect(port: int, sent: bytes, stack: ExitStack) -> socket.socket:
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
    connection.sendall(sent)
    return connection


def is_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_formats_compression_and_selection(port: int) -> None:
    status, headers, body = scrape(port)
    assert (status, body.decode().splitlines()[2]) == (200, "test_calls_total 3.0")
    assert headers["content-type"].startswith("text/plain; version=")
    openmetrics = "application/openmetrics-text; version=1.0.0"
    _, headers, body = scrape(port, Accept=openmetrics, Accept_Encoding="gzip")
    assert headers["content-type"].startswith(openmetrics)
    assert gzip.decompress(body).endswith(b"# EOF\n")
    assert b"test_calls" in scrape(port, "/metrics?name[]=test_calls_total")[2]
    assert b"test_calls" not in scrape(port, "/metrics?name[]=other")[2]


@pytest.mark.parametrize(
    ("path", "method", "expected"),
    [
        ("//", "GET", 404),
        ("/", "POST", 405),
        ("/metrics/", "GET", 404),
        ("/favicon.ico", "GET", 404),
        ("/metrics", "POST", 405),
        ("/metrics", "OPTIONS", 405),
        ("/metrics", "HEAD", 200),
    ],
)
def test_only_the_metrics_are_served(port: int, path: str, method: str, expected: int) -> None:
    status, headers, body = scrape(port, path, method)
    assert status == expected
    assert b"test_calls" not in body
    assert headers.get("allow") == ("GET, HEAD" if expected == 405 else None)


def test_the_landing_page_links_to_the_metrics(port: int) -> None:
    status, headers, body = scrape(port, "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b'<a href="/metrics">' in body
    status, headers, body = scrape(port, "/", "HEAD")
    assert (status, body) == (200, b"")


@pytest.mark.parametrize("garbage", [b"\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET /metrics\r\n\r\n"])
def test_what_is_not_http_is_rejected(port: int, garbage: bytes) -> None:
    with ExitStack() as stack:
        assert b" 400 " in connect(port, garbage, stack).recv(100)
        assert b" 431 " in connect(port, b"GET / HTTP/1.1\r\na: " + b"b" * 9000, stack).recv(100)
    assert scrape(port)[0] == 200


def test_a_thousand_idle_connections(port: int) -> None:
    before = set(threading.enumerate())
    with ExitStack() as stack:
        idle = [connect(port, b"GET /metrics HTTP/1.1\r\n" * (n % 2), stack) for n in range(IDLE)]
        assert scrape(port)[0] == 200
        assert set(threading.enumerate()) <= before
        ended = [is_ended(connection) for connection in idle[: -connections.MAX_CONNECTIONS]]
        assert all(ended)
        assert scrape(port)[0] == 200


def test_a_connection_without_a_request_ends(
    start: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READ_SECONDS", 0.2)
    port = start()
    with ExitStack() as stack:
        for sent in (b"", b"GET /metrics HTTP/1.1\r\nHost: a"):
            assert is_ended(connect(port, sent, stack))


def test_slow_readers_end(
    registry: CollectorRegistry, start: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Counter("large", "More than the buffers of the sockets.", ["a"], registry=registry)
    for number in range(100):
        large.labels("x" * 100_000 + str(number)).inc()
    monkeypatch.setattr(connections, "WRITE_SECONDS", 2.0)
    port = start()
    request = b"GET /metrics HTTP/1.1\r\n\r\n"
    with ExitStack() as stack:
        slow = [connect(port, request, stack) for _ in range(connections.MAX_SLOW_READERS)]
        for connection in slow:
            assert connection.recv(10) == b"HTTP/1.1 2"
        assert len(scrape(port)[2]) > 10_000_000

        def read_all(connection: socket.socket) -> int:
            size = 0
            try:
                while received := connection.recv(2**20):
                    size += len(received)
            except ConnectionError:
                pass
            return size

        for connection in slow:  # each has what was in the buffers, and no more
            connection.settimeout(20)
        threading.Event().wait(2.5)
        assert all(read_all(connection) < 10_000_000 for connection in slow)


def test_a_token(tiny_repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    with ServerProcess(tiny_repository, "--metrics-token-file", str(file)) as server:
        port = int(server.metrics_url.rpartition(":")[2].partition("/")[0])
        status, headers, body = scrape(port)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert b"convscope" not in body
        for wrong in (TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ", "Bearer ü"):
            assert scrape(port, Authorization=wrong)[0] == 401
        assert scrape(port, Authorization=f"bearer {TOKEN}")[0] == 200
        file.write_text("another-token-of-its-length")
        assert scrape(port, Authorization=f"Bearer {TOKEN}")[0] == 401
        assert scrape(port, Authorization="Bearer another-token-of-its-length")[0] == 200
        assert not any(TOKEN in str(line) for line in server.log)


def test_a_token_that_can_be_guessed_is_rejected(tiny_repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("short")
    flags = ("--metrics-address", "127.0.0.1:0", "--grpc-address", "127.0.0.1:0")
    code, _, err = run_to_end("--models", tiny_repository, *flags, "--metrics-token-file", file)
    assert code == 1
    assert "must have at least 16 characters" in err
    assert "short" not in err


def test_tls_and_a_certificate_that_changes(tiny_repository: Path, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "first")
    flags = ("--tls-certificate", str(certificate), "--tls-key", str(key), "--metrics-tls")
    with ServerProcess(tiny_repository, *flags) as server:
        port = int(server.metrics_url.rpartition(":")[2].partition("/")[0])

        def scrape_by(trusted: Path) -> int:
            context = ssl.create_default_context(cafile=str(trusted))
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
            connection.request("GET", "/metrics")
            status = connection.getresponse().status
            connection.close()
            return status

        first = tmp_path / "trusted.pem"
        first.write_bytes(certificate.read_bytes())
        assert scrape_by(first) == 200
        with ExitStack() as stack:
            for _ in range(100):
                connect(port, b"", stack)  # handshakes that never end
            assert scrape_by(first) == 200
        second = make_certificate(tmp_path, "second")
        second[0].replace(certificate)
        second[1].replace(key)
        assert scrape_by(certificate) == 200
        with pytest.raises(ssl.SSLError):
            scrape_by(first)


@pytest.mark.parametrize(("address", "expected"), [("0.0.0.0:0", 1), ("127.0.0.1:0", 0)])
def test_an_open_address_is_a_warning(tiny_repository: Path, address: str, expected: int) -> None:
    with ServerProcess(tiny_repository, "--metrics-address", address) as server:
        warnings = [line for line in server.log if "can read the metrics" in line["event"]]
    assert len(warnings) == expected
