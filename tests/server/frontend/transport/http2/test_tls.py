"""TLS and client certificates on both transports, and files that change."""

import asyncio
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from ngh2 import events
from support.frames import DATA, END_STREAM, PING, frame
from support.http2 import SECONDS, RawClient, framed, serving_http2, until

from convscope.server.errors import StartError
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport import grpc_aio
from convscope.server.frontend.transport.http2.limits import Limits
from convscope.server.frontend.transport.http2.server import Http2Server
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from convscope.server.frontend.transport.tls import TlsFiles

Pair = tuple[Path, Path]


@pytest.fixture(scope="module")
def make_pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Makes self-signed certificates with their keys."""

    def make(name: str) -> Pair:
        folder = tmp_path_factory.mktemp(name)
        chain, key = folder / "chain.pem", folder / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
        command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
        command += ["-keyout", str(key), "-out", str(chain)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("openssl is not installed; it makes the certificate")
        return chain, key

    return make


@pytest.fixture(scope="module")
def own(make_pair: Callable[[str], Pair]) -> Pair:
    return make_pair("server")


@pytest.fixture(scope="module")
def clients(make_pair: Callable[[str], Pair]) -> Pair:
    return make_pair("client")


def credentials(trusted: Pair, shown: Pair | None = None) -> grpc.ChannelCredentials:
    chain, key = (path.read_bytes() for path in shown) if shown else (None, None)
    return grpc.ssl_channel_credentials(trusted[0].read_bytes(), key, chain)


async def test_tls(own: Pair) -> None:
    tls = TlsFiles(certificate=own[0], key=own[1])
    async with serving_http2(tls=tls, credentials=credentials(own)) as serving:
        for size in (0, 1000, 3_000_000):
            assert await serving.call("echo", bytes(size)) == bytes(size)
        await serving.call("unary")
        known = serving.service.contexts[0].auth_context()
        assert known == {"transport_security_type": [b"ssl"]}
        assert serving.service.contexts[0].peer_identities() is None


async def test_many_small_frames(own: Pair) -> None:
    """They are read at once, and processed in several rounds."""
    context = ssl.create_default_context(cafile=str(own[0]))
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    async with serving_http2(tls=TlsFiles(certificate=own[0], key=own[1])) as serving:
        client = RawClient()
        await client.connect(serving.port, context)
        message = framed(bytes(30_000))
        stream = client.call("size", None)
        client.send(b"".join(frame(DATA, 0, stream, bytes([byte])) for byte in message))
        client.send(frame(DATA, END_STREAM, stream) + frame(PING, payload=b"the last"))
        await until(lambda: client.of(events.TrailersReceived))
        assert client.fields(stream)[b"grpc-status"] == b"0"
        assert [event.data for event in client.of(events.DataReceived)] == [framed(b"30000")]
        await client.close()


async def test_a_client_without_tls(own: Pair) -> None:
    tls = TlsFiles(certificate=own[0], key=own[1])
    async with serving_http2(tls=tls) as serving:
        error = await serving.failure("echo", timeout=5)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert serving.server.open_state.connections == 0


async def test_a_client_without_alpn(own: Pair) -> None:
    tls = TlsFiles(certificate=own[0], key=own[1])
    context = ssl.create_default_context(cafile=str(own[0]))
    async with serving_http2(tls=tls) as serving:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", serving.port, ssl=context, server_hostname="localhost"
        )
        assert writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        async with asyncio.timeout(SECONDS):
            assert await reader.read() == b""
        writer.close()


def test_old_tls_is_off(own: Pair) -> None:
    context = TlsFiles(certificate=own[0], key=own[1]).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_client_certificates(own: Pair, clients: Pair) -> None:
    tls = TlsFiles(certificate=own[0], key=own[1], client_ca=clients[0])
    async with serving_http2(tls=tls, credentials=credentials(own, clients)) as serving:
        assert await serving.call("unary", b"x") == b"x"
        context = serving.service.contexts[0]
        assert list(context.auth_context()["x509_common_name"]) == [b"client"]
        assert list(context.peer_identities()) == [b"localhost"]
        assert context.peer_identity_key() == "x509_subject_alternative_name"


@pytest.mark.parametrize("shown", ["none", "of another authority"])
async def test_a_client_without_the_right_certificate(own: Pair, clients: Pair, shown: str) -> None:
    tls = TlsFiles(certificate=own[0], key=own[1], client_ca=clients[0])
    wrong = credentials(own, None if shown == "none" else own)
    async with serving_http2(tls=tls, credentials=wrong) as serving:
        error = await serving.failure("echo", timeout=3)
        assert error.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )
        assert serving.service.groups == []


async def served_certificate(port: int) -> bytes:
    text = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=SECONDS)
    return b"".join(text.encode().split())


async def test_changed_files_are_used(
    own: Pair, tmp_path: Path, make_pair: Callable[[str], Pair]
) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(own[0].read_bytes())
    key.write_bytes(own[1].read_bytes())
    tls = TlsFiles(certificate=chain, key=key)
    async with serving_http2(tls=tls, credentials=credentials(own)) as serving:
        assert await serving.call("echo", b"x") == b"x"
        renewed = make_pair("renewed")
        chain.write_bytes(renewed[0].read_bytes())  # it doesn't fit to the key yet
        await asyncio.sleep(1.5)
        before = b"".join(own[0].read_bytes().split())
        assert await served_certificate(serving.port) == before
        key.write_bytes(renewed[1].read_bytes())
        expected = b"".join(renewed[0].read_bytes().split())
        async with asyncio.timeout(SECONDS):
            while await served_certificate(serving.port) != expected:
                await asyncio.sleep(0.1)
        assert await serving.call("echo", b"x") == b"x"  # on the open connection


async def test_files_that_are_not_pem(own: Pair) -> None:
    server = Http2Server(MemoryBudget(1), tls=TlsFiles(certificate=own[0], key=Path(__file__)))
    with pytest.raises(StartError, match="--tls-certificate, --tls-key"):
        server.bind("127.0.0.1:0")


async def test_a_handshake_that_ends_during_the_stop_does_not_delay_it(own: Pair) -> None:
    context = ssl.create_default_context(cafile=str(own[0]))
    context.set_alpn_protocols(["h2"])
    tls = TlsFiles(certificate=own[0], key=own[1])
    async with serving_http2(tls=tls, credentials=credentials(own)) as serving:
        in_flight = asyncio.ensure_future(serving.call("never", b"x"))
        await until(lambda: serving.service.waiting)
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        await asyncio.sleep(0.1)  # until it is accepted
        stopping = asyncio.ensure_future(serving.server.stop(SECONDS))
        await asyncio.sleep(0)
        await writer.start_tls(context, server_hostname="localhost")
        async with asyncio.timeout(SECONDS / 2):
            await reader.read()
        serving.service.waiting[0].reply(b"y")
        assert await in_flight == b"y"
        await stopping
        writer.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_handshakes_that_never_end_give_way(own: Pair, run: Callable[[Any], None]) -> None:
    """The limit holds for them only: callers are served meanwhile."""
    run(_half_open(own))


async def _half_open(own: Pair) -> None:
    tls, limits = TlsFiles(certificate=own[0], key=own[1]), Limits(max_handshakes=5)
    files = len(list(Path("/proc/self/fd").iterdir()))
    async with serving_http2(limits, tls=tls, credentials=credentials(own)) as serving:
        waiting = [await asyncio.open_connection("127.0.0.1", serving.port) for _ in range(20)]
        for reader, _ in waiting[:14]:
            async with asyncio.timeout(SECONDS):
                assert await reader.read() == b""
        assert await serving.call("echo", b"x") == b"x"
        assert not any(reader.at_eof() for reader, _ in waiting[16:])
        assert serving.server.open_state.connections == 1
        for _, writer in waiting:
            writer.close()
    await until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= files + 5)


async def test_a_client_without_a_handshake_takes_no_place(own: Pair) -> None:
    tls = TlsFiles(certificate=own[0], key=own[1])
    limits = Limits(max_connections=1)
    async with serving_http2(limits, tls=tls, credentials=credentials(own)) as serving:
        assert await serving.call("echo", b"x") == b"x"
        _, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        await asyncio.sleep(0.1)
        assert serving.channel.get_state() is grpc.ChannelConnectivity.READY
        writer.close()
        second = RawClient()
        await second.connect(serving.port, client_context(own))
        await until(lambda: second.of(events.SettingsReceived))
        await second.close()


async def test_connections_above_the_limit_are_closed(own: Pair) -> None:
    tls = TlsFiles(certificate=own[0], key=own[1])
    limits = Limits(max_connections=1)
    async with serving_http2(limits, tls=tls, credentials=credentials(own)) as serving:
        waiting = asyncio.ensure_future(serving.call("never"))
        await until(lambda: serving.service.waiting)
        second = RawClient()
        await second.connect(serving.port, client_context(own))
        await until(lambda: second.is_closed)
        assert serving.server.open_state.connections == 1
        waiting.cancel()


def client_context(trusted: Pair) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(trusted[0]))
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    return context


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
async def test_a_handshake_on_grpc_aio_that_takes_too_long_ends(
    own: Pair, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_aio, "HANDSHAKE_MS", 300)
    settings = FrontendSettings(tls_certificate=own[0], tls_key=own[1])
    transport = grpc_aio.GrpcAioTransport(settings, MemoryBudget(1))
    port = transport.bind("127.0.0.1:0")
    await transport.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(SECONDS):
        assert await reader.read() == b""
    writer.close()
    await transport.stop(None)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
async def test_a_handshake_that_takes_too_long_ends(own: Pair, sent: bytes) -> None:
    tls = TlsFiles(certificate=own[0], key=own[1])
    async with serving_http2(Limits(handshake_seconds=0.2), tls=tls) as serving:
        reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        writer.write(sent)  # nothing, or the begin of a record
        async with asyncio.timeout(SECONDS):
            assert await reader.read() == b""
        writer.close()
