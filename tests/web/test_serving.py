"""The start and the end of the process, and a server that goes away."""

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.calls import sample, wait_until
from support.images import encode, picture
from support.server import ServerProcess
from support.web_process import WebProcess, fresh

from convscope.web.replies import HealthReply, ReadyReply
from convscope.web.serving import StartError, serve
from convscope.web.settings import WebSettings

pytestmark = pytest.mark.one_transport("starts and stops the web process")

TINY = "/v1/models/tiny:classify"
PHOTO = encode(picture())
NOWHERE = "127.0.0.1:1"


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run `convscope web` until it ends by itself."""
    start = ["-c", code] if code else ["-m", "convscope.client"]
    command = [sys.executable, *start, "web", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = run("--http-address", address)
    assert done.returncode == 1
    assert (
        f"can't listen on --http-address {address}: another program uses this port" in done.stderr
    )


@pytest.mark.parametrize("address", ["8080", "localhost:", "localhost:http", ":8080", "a:99999"])
def test_an_invalid_address_is_named(address: str) -> None:
    with pytest.raises(StartError, match=f"--http-address is '{address}'; give HOST:PORT"):
        serve(WebSettings(http_address=address))


def test_an_invalid_server_is_named() -> None:
    with pytest.raises(StartError, match="the target is 'http://localhost:8001'; give HOST:PORT"):
        serve(WebSettings(server="http://localhost:8001", http_address="127.0.0.1:0"))


@pytest.mark.parametrize("name", ["x y", "grpc-timeout", "token-bin"])
def test_a_header_that_grpc_does_not_send_is_named(name: str) -> None:
    with pytest.raises(StartError, match=f"--forward-header is '{name}'; give letters"):
        serve(WebSettings(forwarded_headers=(name,), http_address="127.0.0.1:0"))


def test_without_the_extra_the_repair_is_named() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None; "
        "from convscope.client.__main__ import main; main()"
    )
    done = run(code=code)
    assert done.returncode == 1
    assert "fastapi is missing" in done.stderr
    assert "pip install '.[web]'" in done.stderr.replace("\n", " ")


def test_without_a_server_the_process_runs_and_says_why_it_is_not_ready() -> None:
    with WebProcess(NOWHERE) as web:
        reply = web.get("/readyz")
        assert reply.status == 503
        ready = ReadyReply.model_validate_json(reply.body)
        assert (ready.ready, ready.server) == (False, NOWHERE)
        assert ready.reason.startswith(f"no gRPC server responds at {NOWHERE}: ")
        health = web.get("/healthz")
        assert (health.status, HealthReply.model_validate_json(health.body).status) == (200, "ok")
        reply = web.post(TINY, PHOTO)
        assert reply.error == (
            503,
            "UNAVAILABLE",
            "the gRPC server doesn't respond; /readyz has the reason",
        )
        assert reply.headers["retry-after"] == "1"
        assert web.request("HEAD", "/healthz", None, {}).status == 200
        assert web.request("HEAD", "/readyz", None, {}).status == 503
        assert web.get("/v1/models").status == 503
        assert web.get("/v2/health/ready").status == 503
        assert web.get("/").status == 200


def test_a_server_that_goes_away_and_comes_back_is_used_again(web_repository: Path) -> None:
    with ServerProcess(web_repository) as server:
        web = WebProcess(server.target)
        assert web.get("/readyz").json == {"ready": True, "server": server.target, "reason": ""}
        assert web.post(TINY, PHOTO).status == 200
    with web:
        assert web.get("/readyz").status == 503
        assert web.post(f"{TINY}?timeout=2", PHOTO).error[:2] == (503, "UNAVAILABLE")
        with ServerProcess(web_repository, "--grpc-address", server.target):
            wait_until(lambda: web.get("/readyz").status == 200)
            assert web.post(TINY, PHOTO).status == 200


def test_a_signal_ends_the_process_after_the_requests_in_flight(
    grpc_server: ServerProcess,
) -> None:
    with WebProcess(grpc_server.target, command=fresh(grpc_server.target)) as web:
        with socket.create_connection(("127.0.0.1", web.port)) as connection:
            head = f"POST {TINY} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(PHOTO)}"
            connection.sendall(head.encode() + b"\r\n\r\n" + PHOTO[:-1])
            assert web.get("/healthz").status == 200  # so that the request was accepted
            web.process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                web.process.wait(0.5)
            connection.sendall(PHOTO[-1:])
            assert connection.recv(13) == b"HTTP/1.1 200 "
        assert web.stop() == 0
        assert web.log[-1]["event"] == "stopped"


def test_a_request_that_outlasts_the_grace_is_told_to_retry(web_repository: Path) -> None:
    with (
        ServerProcess(web_repository, "--max-delay-seconds", "60") as server,
        WebProcess(server.target, "--grace-seconds", "1") as web,
        ThreadPoolExecutor(1) as pool,
    ):
        reply = pool.submit(web.post, TINY, PHOTO)
        wait_until(lambda: sample(server, "grpc_server_started_total", grpc_method="Classify") > 0)
        assert web.stop() == 0
        assert reply.result().error[:2] == (503, "UNAVAILABLE")
        assert reply.result().headers["retry-after"] == "1"
        assert not any("Traceback" in line.get("exception", "") for line in web.log)


def test_while_it_drains_it_serves_but_is_not_ready(grpc_server: ServerProcess) -> None:
    with WebProcess(grpc_server.target, "--drain-seconds", "60") as web:
        web.process.send_signal(signal.SIGTERM)
        wait_until(lambda: web.get("/readyz").json["reason"] == "the web process is stopping")
        assert web.post(TINY, PHOTO).status == 200
        web.process.send_signal(signal.SIGTERM)  # a second one doesn't wait
        assert web.process.wait(10) == 0


def test_an_address_that_others_reach_is_a_warning(grpc_server: ServerProcess) -> None:
    with WebProcess(grpc_server.target, "--http-address", "0.0.0.0:0") as web:
        (warning,) = [line for line in web.log if line["level"] == "warning"]
        assert warning["event"] == "reachable from other machines"
        assert "no authentication" in warning["repair"]
        # Whatever others call it.
        assert web.get("/healthz", Host="vision.example.org").status == 200


def test_stated_names_hold_at_every_address() -> None:
    """In a container the address is 0.0.0.0, also if only this machine can reach it."""
    flags = ("--http-address", "0.0.0.0:0", "--allowed-host", "vision.example.org")
    with WebProcess(NOWHERE, *flags) as web:
        assert web.get("/healthz", Host="evil.example").status == 421
        for host in ("localhost", "127.0.0.1:8080", "vision.example.org"):
            assert web.get("/healthz", Host=host).status == 200


def test_the_address_may_be_ipv6(grpc_server: ServerProcess) -> None:
    with (
        WebProcess(grpc_server.target, "--http-address", "[::1]:0") as web,
        socket.create_connection(("::1", web.port)) as connection,
    ):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: [::1]\r\n\r\n")
        assert connection.recv(13) == b"HTTP/1.1 200 "
