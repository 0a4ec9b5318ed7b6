"""Calls are spread over the servers of a target, on real connections."""

import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.calls import sample
from support.server import ServerProcess

from convscope.client._connection.targets import has_several_addresses

RED = np.full((8, 8, 3), (200, 30, 20), np.uint8)
CALLS = 40
ADDRESSES = ("127.0.0.1", "127.0.0.2")
HEADER_BYTES = 12
A_RECORD = 1


@contextmanager
def name_server(addresses: Sequence[str]) -> Iterator[str]:
    """Answer every name of the test with the same addresses, and yield where."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0.1)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    query, client = listener.recvfrom(512)
                except TimeoutError:
                    continue
                listener.sendto(reply(query, addresses), client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


def reply(query: bytes, addresses: Sequence[str]) -> bytes:
    """Return the reply to a query: a record for each address if it asks for such."""
    end = query.index(0, HEADER_BYTES) + 1
    question = query[HEADER_BYTES : end + 4]
    (kind,) = struct.unpack_from(">H", query, end)
    found = tuple(addresses) if kind == A_RECORD else ()
    header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)
    records = [
        struct.pack(">HHHIH", 0xC00C, A_RECORD, 1, 60, 4) + socket.inet_aton(address)
        for address in found
    ]
    return header + question + b"".join(records)


@pytest.fixture(scope="module")
def pair(tiny_repository: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two servers with the same port on two addresses of this machine."""
    with ServerProcess(tiny_repository) as first:
        port = first.target.rpartition(":")[2]
        with ServerProcess(tiny_repository, "--grpc-address", f"127.0.0.2:{port}") as second:
            yield first, second


def calls_of(server: ServerProcess) -> int:
    return int(sample(server, "grpc_server_handled_total", grpc_method="Classify"))


@pytest.mark.parametrize("kind", ["addresses", "name"])
def test_calls_are_spread_over_all_servers(
    make_caller: Any,
    pair: tuple[ServerProcess, ServerProcess],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    port = pair[0].target.rpartition(":")[2]
    with name_server(ADDRESSES) as resolver:
        target = f"dns://{resolver}/convscope.test:{port}"
        if kind == "addresses":
            target = f"ipv4:127.0.0.1:{port},127.0.0.2:{port}"
        before = [calls_of(server) for server in pair]
        caller = make_caller(target, model="tiny")
        for _ in range(CALLS):
            assert caller.classify(RED).top.label == "red"
        shares = [calls_of(server) - calls for server, calls in zip(pair, before, strict=True)]
    assert sum(shares) == CALLS
    # Calls before the second connection is ready go to the first.
    assert min(shares) >= CALLS // 4


@pytest.mark.parametrize("shared", [False, True])
def test_a_server_that_is_added_gets_its_share(
    make_caller: Any,
    pair: tuple[ServerProcess, ServerProcess],
    monkeypatch: pytest.MonkeyPatch,
    *,
    shared: bool,
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    port, known = pair[0].target.rpartition(":")[2], [ADDRESSES[0]]
    with name_server(known) as resolver:
        target = f"dns://{resolver}/convscope.test:{port}"
        caller = make_caller(target, model="tiny", connection_age_seconds=0.1)
        before = calls_of(pair[1])
        assert caller.classify(RED).top.label == "red"
        if shared:
            caller.use_channel()
            assert caller.classify(RED).top.label == "red"  # connects before the name changes
        known.append(ADDRESSES[1])
        for _ in range(CALLS):
            assert caller.classify(RED).top.label == "red"
            time.sleep(0.01)
        assert (calls_of(pair[1]) > before) is not shared


def test_a_server_that_ends_is_replaced_by_the_other(
    make_caller: Any, tiny_repository: Path
) -> None:
    with ServerProcess(tiny_repository) as lasting:
        with ServerProcess(tiny_repository) as ending:
            caller = make_caller(f"ipv4:{ending.target},{lasting.target}", model="tiny")
            assert {caller.classify(RED).top.label for _ in range(10)} == {"red"}
        assert {caller.classify(RED).top.label for _ in range(10)} == {"red"}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("localhost:8001", False),
        ("127.0.0.1:8001", False),
        ("unix:/run/convscope", False),
        ("ipv4:127.0.0.1:8001,127.0.0.1:8002", True),
        ("dns:///convscope:8001", True),
        ("convscope.internal:8001", True),
    ],
)
def test_which_targets_may_stand_for_several_servers(target: str, expected: bool) -> None:
    assert has_several_addresses(target) is expected
