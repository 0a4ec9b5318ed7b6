"""What the clients say after a mistake with TLS, with a proxy, or with the port."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority
from support.server import ServerProcess

from convscope.client import AsyncClient, Client, ConvscopeError, InvalidInputError
from convscope.client._connection.diagnosis import proxy_variable

Pair = tuple[Path, Path]
Start = Callable[..., str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture
def start(tiny_repository: Path) -> Iterator[Start]:
    """Start a server with a certificate, and return its port."""
    servers = []

    def start(pair: Pair, *flags: str) -> str:
        files = ("--tls-certificate", str(pair[0]), "--tls-key", str(pair[1]))
        servers.append(ServerProcess(tiny_repository, *files, *flags))
        return servers[-1].target.rpartition(":")[2]

    yield start
    for server in servers:
        server.stop()


def failure(target: str, **options: Any) -> str:
    """Return the message of both clients, which is the same."""

    async def call() -> None:
        async with AsyncClient(target, **options) as client:
            await client.models()

    with pytest.raises(ConvscopeError) as blocking, Client(target, **options) as client:
        client.models()
    with pytest.raises(ConvscopeError) as awaited:
        asyncio.run(call())
    assert awaited.value.message == blocking.value.message
    return blocking.value.message


def test_client_without_tls_learns_that_the_server_uses_it(
    start: Start, authority: Authority
) -> None:
    target = f"localhost:{start(authority.issue('server'))}"
    assert f"{target} uses TLS, and this client doesn't; give root_certificates" in failure(target)


async def test_the_event_loop_runs_while_the_cause_is_found(authority: Authority) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("server"))
    # A server of the same event loop answers the handshake only if the loop isn't blocked.
    server = await asyncio.start_server(lambda *_: None, "localhost", 0, ssl=context)
    target = f"localhost:{server.sockets[0].getsockname()[1]}"
    async with server, AsyncClient(target, retries=0, timeout_seconds=20) as client:
        with pytest.raises(ConvscopeError, match=f"{target} uses TLS, and this client doesn't"):
            await client.models()


def test_client_with_tls_learns_that_the_server_does_not_use_it(
    tiny_server: ServerProcess, authority: Authority
) -> None:
    message = failure(tiny_server.target, root_certificates=authority.certificate)
    assert f"{tiny_server.target} doesn't use TLS, and this client does; leave out" in message


def test_unknown_authority(start: Start, authority: Authority, stranger: Authority) -> None:
    target = f"localhost:{start(authority.issue('server'))}"
    message = failure(target, root_certificates=stranger.certificate)
    assert f"the certificate of {target} is not from an authority that root_cert" in message
    with Client(target, root_certificates=authority.certificate) as client:
        assert client.models()


@pytest.mark.parametrize(
    ("valid_days", "problem"), [((-10, -1), "has expired"), ((1, 2), "is not valid yet")]
)
def test_certificate_out_of_its_time(
    start: Start, authority: Authority, valid_days: tuple[int, int], problem: str
) -> None:
    target = f"localhost:{start(authority.issue('server', valid_days=valid_days))}"
    message = failure(target, root_certificates=authority.certificate)
    assert f"the certificate of {target} {problem}; " in message


def test_wrong_host_name(start: Start, authority: Authority) -> None:
    target = f"localhost:{start(authority.issue('server', ('a.example', '10.0.0.1')))}"
    message = failure(target, root_certificates=authority.certificate)
    assert "is for a.example, 10.0.0.1, not for localhost; use one of these names" in message


def test_missing_and_foreign_client_certificates(
    start: Start, authority: Authority, stranger: Authority
) -> None:
    flags = ("--tls-client-ca", str(authority.certificate))
    target = f"localhost:{start(authority.issue('server'), *flags)}"
    roots = {"root_certificates": authority.certificate}
    assert "give client_certificate and client_key (--client-cert" in failure(target, **roots)
    certificate, key = stranger.issue("client")
    own = {"client_certificate": certificate, "client_key": key}
    assert "doesn't accept the client certificate" in failure(target, **roots, **own)
    certificate, key = authority.issue("client")
    with Client(
        target,
        root_certificates=authority.certificate,
        client_certificate=certificate,
        client_key=key,
    ) as client:
        assert client.models()


def test_files_are_checked_before_the_first_call(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("client")
    other = authority.issue("other")[1]
    with pytest.raises(InvalidInputError, match=r"other-key\.pem is not that of the certificate"):
        Client(
            "localhost:1",
            root_certificates=authority.certificate,
            client_certificate=certificate,
            client_key=other,
        )
    with pytest.raises(InvalidInputError, match="contains no certificate in PEM"):
        Client("localhost:1", root_certificates=key)
    described = tmp_path / "described.pem"
    described.write_bytes("# Autorität\n".encode() + authority.certificate.read_bytes())
    Client("localhost:1", root_certificates=described).close()


def test_port_of_the_metrics_is_not_the_port_of_grpc(tiny_server: ServerProcess) -> None:
    metrics = tiny_server.metrics_url.split("/")[2]
    message = failure(metrics)
    assert f"{metrics} is a web server, not the gRPC port of a convscope server" in message


def test_server_that_is_not_there_is_reported_as_before() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        target = f"127.0.0.1:{taken.getsockname()[1]}"
    assert f"no server answers at {target}; check the address" in failure(target)


def test_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    message = failure("server.internal:8001")
    assert "server.internal:8001 through the proxy of $http_proxy; to reach it dir" in message
    assert "add server.internal to $no_proxy" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("target", "environment", "variable"),
    [
        ("server:8001", {"http_proxy": "http://proxy:3128"}, "http_proxy"),
        ("dns:///server:8001", {"https_proxy": "proxy", "grpc_proxy": "http://p:1"}, "grpc_proxy"),
        ("localhost:8001", {"http_proxy": "http://proxy:3128"}, ""),
        ("127.0.0.1:8001", {"http_proxy": "http://proxy:3128"}, ""),
        ("server.lan:8001", {"http_proxy": "http://proxy:3128", "no_proxy": "a, .lan"}, ""),
        ("unix:/run/server", {"http_proxy": "http://proxy:3128"}, ""),
        ("server:8001", {"HTTP_PROXY": "http://proxy:3128"}, ""),
    ],
)
def test_variable_whose_proxy_grpc_uses(
    target: str, environment: dict[str, str], variable: str
) -> None:
    assert proxy_variable(target, environment) == variable
