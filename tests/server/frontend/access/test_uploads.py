"""Unfinished uploads count against what a caller may have in flight (only http2 sees them)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.access import PolicyFile
from support.calls import connected, image_request, sample
from support.http2 import RawClient, framed, raw_client, until
from support.server import ServerProcess

from convscope.server.frontend.transport.http2.engine import ErrorCode

pytestmark = pytest.mark.one_transport("http2 only")

SIZE, LIMIT = 400_000, 500_000


@pytest.fixture
def server(tiny_repository: Path, tmp_path: Path) -> Iterator[tuple[ServerProcess, PolicyFile]]:
    policy = PolicyFile(tmp_path, {"web": f"concurrent_bytes = {LIMIT}", "other": ""})
    flags = ("--policy", str(policy.path), "--transport", "http2")
    with ServerProcess(tiny_repository, *flags) as server:
        yield server, policy


def begin(client: RawClient, policy: PolicyFile, caller: str) -> int:
    """Begin a call, and send a part of its request."""
    token = policy.tokens[caller].encode()
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"test"),
        (b":path", b"/convscope.v1.ClassifierService/Classify"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"authorization", b"Bearer " + token),
    ]
    stream = client.engine.send_request(headers)
    client.engine.send_data(stream, framed(bytes(SIZE))[: SIZE // 2 + SIZE // 4])
    client.send()
    return stream


async def test_unfinished_uploads(server: tuple[ServerProcess, PolicyFile]) -> None:
    process, policy = server
    async with raw_client(int(process.target.rpartition(":")[2])) as client:
        first = begin(client, policy, "web")
        await until(lambda: sample(process, "convscope_request_memory_bytes") >= SIZE // 2)
        second = begin(client, policy, "web")
        fields = await client.status(second)
        assert fields[b"grpc-status"] == b"8"
        assert fields[b"grpc-message"].startswith(b"the caller 'web' has more than its 500,000")
        assert fields[b"grpc-retry-pushback-ms"] == b"100"
        other = begin(client, policy, "other")
        await until(lambda: sample(process, "convscope_request_memory_bytes") >= SIZE)
        for stream in (first, other):
            client.engine.reset_stream(stream, ErrorCode.CANCEL)
        client.send()
        await until(lambda: sample(process, "convscope_request_memory_bytes") == 0)
        third = begin(client, policy, "web")
        await until(lambda: sample(process, "convscope_request_memory_bytes") >= SIZE // 2)
        assert not client.fields(third)
    with connected(process) as stub:
        reply = stub.Classify(image_request(), timeout=30, metadata=policy.metadata("web"))
        assert reply.model == "tiny"
