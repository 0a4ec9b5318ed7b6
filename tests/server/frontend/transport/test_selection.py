"""Which transport serves, by what is installed; and what both transports must agree on."""

import asyncio
import importlib.metadata
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from convscope.server.errors import StartError
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport import selection
from convscope.server.frontend.transport.calls import UnaryCall
from convscope.server.frontend.transport.memory_budget import MemoryBudget

SECONDS = 20.0
TRANSPORTS = ["http2", "grpc-aio"]
LOOPBACK = ["--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Pretends that another version of ngh2, or none, is installed."""

    def version(name: str) -> str:
        if request.param is None:
            raise importlib.metadata.PackageNotFoundError(name)
        found: str = request.param
        return found

    monkeypatch.setattr(selection, "version", version)


@pytest.mark.parametrize("engine", ["0.3.0", "0.3.7", "0.3"], indirect=True)
@pytest.mark.usefixtures("engine")
def test_auto_with_a_tested_version() -> None:
    with capture_logs() as log:
        assert selection.use_http2("auto")
    assert log == []
    assert not selection.use_http2("grpc-aio")


@pytest.mark.parametrize(
    ("engine", "reason"),
    [(None, "not installed"), ("0.2.9", "0.2.9 is"), ("0.30.1", "0.30.1"), ("1.3.0", "1.3.0")],
    indirect=["engine"],
)
@pytest.mark.usefixtures("engine")
def test_without_a_tested_version(reason: str) -> None:
    with capture_logs() as log:
        assert not selection.use_http2("auto")
    (line,) = log
    assert reason in line["reason"]
    assert "ngh2>=0.3,<0.4" in line["reason"]
    with pytest.raises(StartError, match=r"--transport http2 needs ngh2>=0.3,<0.4"):
        selection.use_http2("http2")


def test_an_engine_that_can_not_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ngh2", None)
    monkeypatch.delitem(sys.modules, selection.ENGINE_MODULE, raising=False)
    with capture_logs() as log:
        assert not selection.use_http2("auto")
    (line,) = log
    assert "can't be imported" in line["reason"]
    with pytest.raises(StartError, match="can't be imported"):
        selection.use_http2("http2")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_mistake_in_a_group_handler_fails_its_calls(transport: str) -> None:
    def crash(calls: Sequence[UnaryCall]) -> None:
        raise RuntimeError("a mistake")

    server = selection.make_transport(FrontendSettings(transport=transport), MemoryBudget(2**20))
    server.add_group_methods("test.Service", {"crash": crash})
    port = server.bind("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            crashing: Any = channel.unary_unary("/test.Service/crash")
            call = crashing(b"", timeout=SECONDS)
            assert await call.code() is grpc.StatusCode.INTERNAL
            assert "mistake" not in await call.details()
    finally:
        await server.stop(None)


@asynccontextmanager
async def served(settings: FrontendSettings) -> AsyncIterator[int]:
    async def echo(request: bytes, context: Any) -> bytes:
        return request

    async def wait(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(2 * SECONDS)
        return b""

    handlers: dict[str, Any] = {
        "echo": grpc.unary_unary_rpc_method_handler(echo),
        "wait": grpc.unary_unary_rpc_method_handler(wait),
    }
    server = selection.make_transport(settings, MemoryBudget(2**20))
    server.add_registered_method_handlers("test", handlers)
    port = server.bind(settings.grpc_address)
    await server.start()
    yield port
    await server.stop(None)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Self-signed certificates and their keys."""
    found = {}
    for name in ("server", "client", "renewed"):
        folder = tmp_path_factory.mktemp(name)
        chain, key = folder / "chain.pem", folder / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
        command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
        try:
            subprocess.run(
                [*command, "-keyout", key, "-out", chain], check=True, capture_output=True
            )
        except FileNotFoundError:
            pytest.skip("openssl is not installed; it makes the certificate")
        found[name] = (chain, key)
    return found


async def echo_code(
    port: int, trusted: Path, shown: tuple[Path, Path] | None = None
) -> grpc.StatusCode:
    """Return how a call on a new connection ends."""
    chain, key = (path.read_bytes() for path in shown) if shown else (None, None)
    credentials = grpc.ssl_channel_credentials(trusted.read_bytes(), key, chain)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options) as channel:
        echo: Any = channel.unary_unary("/test/echo")
        code: grpc.StatusCode = await echo(b"x", timeout=5).code()
        return code


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("key", ["missing", "another", "no PEM"])
async def test_tls_files_that_can_not_be_used(
    transport: str, key: str, pairs: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    keys = {"missing": tmp_path / "none", "another": pairs["client"][1], "no PEM": Path(__file__)}
    settings = FrontendSettings(
        transport=transport, tls_certificate=pairs["server"][0], tls_key=keys[key]
    )
    with pytest.raises(StartError, match="--tls-certificate, --tls-key"):
        selection.make_transport(settings, MemoryBudget(1)).bind("127.0.0.1:0")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_passphrase_is_asked_for(
    transport: str, pairs: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    """OpenSSL would wait at the terminal, also when changed files are loaded again."""
    chain, key = pairs["server"]
    encrypted = tmp_path / "encrypted.pem"
    make: list[str | Path] = ["openssl", "ec", "-aes128", "-passout", "pass:secret"]
    subprocess.run([*make, "-in", key, "-out", encrypted], check=True, capture_output=True)
    serve: list[str | Path] = [sys.executable, "-m", "convscope.server", "--models", tmp_path]
    tls: list[str | Path] = ["--tls-certificate", chain, "--tls-key", encrypted]
    run = subprocess.run(
        [*serve, "--transport", transport, *tls, *LOOPBACK],
        input=b"secret\n",
        capture_output=True,
        start_new_session=True,  # without a terminal, it asks at the standard input
        timeout=60,
    )
    assert run.returncode == 1
    assert b"is the key without a passphrase?" in run.stderr


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_client_certificates(transport: str, pairs: dict[str, tuple[Path, Path]]) -> None:
    (chain, key), authority = pairs["server"], pairs["client"][0]
    settings = FrontendSettings(
        transport=transport,
        grpc_address="127.0.0.1:0",
        tls_certificate=chain,
        tls_key=key,
        tls_client_ca=authority,
    )
    async with served(settings) as port:
        assert await echo_code(port, chain, pairs["client"]) is grpc.StatusCode.OK
        for shown in (None, pairs["renewed"]):
            assert await echo_code(port, chain, shown) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_renewed_certificates(
    transport: str, pairs: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"

    def install(name: str) -> None:
        for target, source in zip((chain, key), pairs[name], strict=True):
            target.write_bytes(source.read_bytes())

    install("server")
    settings = FrontendSettings(
        transport=transport, grpc_address="127.0.0.1:0", tls_certificate=chain, tls_key=key
    )
    async with served(settings) as port:
        assert await echo_code(port, pairs["server"][0]) is grpc.StatusCode.OK
        install("renewed")
        async with asyncio.timeout(SECONDS):
            while await echo_code(port, pairs["renewed"][0]) is not grpc.StatusCode.OK:
                await asyncio.sleep(0.1)


@pytest.mark.slow(seconds=12)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_clients_that_ping_as_the_sdk_does_stay_connected(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All times are a fortieth: the SDK pings every 60 seconds, and 30 are allowed."""
    monkeypatch.setattr(selection, "MIN_PING_SECONDS", selection.MIN_PING_SECONDS / 40)
    settings = FrontendSettings(transport=transport, grpc_address="127.0.0.1:0")
    async with served(settings) as port:
        await asyncio.gather(*(stays_connected(port, with_call) for with_call in (True, False)))


async def stays_connected(port: int, with_call: bool) -> None:
    """Check that a client on a connection of its own, with a call or idle, stays connected."""
    options = [
        ("grpc.keepalive_time_ms", 60_000 // 40),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        echo: Any = channel.unary_unary("/test/echo")
        wait: Any = channel.unary_unary("/test/wait")
        await echo(b"x", timeout=SECONDS)
        waiting = wait(b"") if with_call else None
        await asyncio.sleep(12)  # three minutes at least of the real times, and some pings
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        if waiting is not None:
            assert not waiting.done()
            waiting.cancel()
