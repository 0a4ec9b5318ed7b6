"""Servers that run out of memory, descriptors or disk under load."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest
from support.calls import connected, image_request, wait_until
from support.chaos.load import load
from support.chaos.rounds import rounds
from support.fuzz.server import Outcomes, Usage
from support.images import encode, picture
from support.server import ServerProcess

from convscope.client import OverloadedError, UnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RATE = 50.0
CALLS = 100
CONNECTIONS = 500
MIB = 2**20
# For nothing, for small calls, and for the decoding of one photo.
SPARE_BYTES = (0, 8 * MIB, 40 * MIB)


@contextmanager
def limited(server: ServerProcess, kind: int, limit: int) -> Iterator[None]:
    """Lower a limit of the running process for the duration of a with block."""
    before, most = resource.prlimit(server.process.pid, kind)
    resource.prlimit(server.process.pid, kind, (limit, most))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, kind, (before, most))


def memory_bytes(server: ServerProcess) -> int:
    """Return the size of the address space."""
    pages = (Path("/proc") / str(server.process.pid) / "statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


@pytest.mark.one_transport("grpcio finds memory in what its threads have reserved")
def test_without_memory_calls_are_rejected_and_later_ones_are_answered(
    tiny_repository: Path,
) -> None:
    """Large images need memory that isn't there."""
    outcomes, large = Outcomes(), picture(4000, 3000)
    # A JPEG is decoded to scale, a PNG as a whole.
    requests = [image_request(encode(large, format)) for format in ("JPEG", "PNG")]
    with ServerProcess(tiny_repository) as server, load(server.target, RATE) as callers:
        with connected(server) as stub:
            # The threads start while there is memory: Python waits for ever for one that can't.
            for call in [stub.Classify.future(request) for request in requests * 4]:
                call.result()
            for turn in range(3 * rounds(1)):
                callers.wait_for(CALLS)
                limit = memory_bytes(server) + SPARE_BYTES[turn % len(SPARE_BYTES)]
                with limited(server, resource.RLIMIT_AS, limit):
                    calls = [stub.Classify.future(request) for request in requests * 4]
                    for call in calls:
                        error = call.exception()
                        assert error is None or isinstance(error, grpc.RpcError)
                        outcomes.add(error)
                callers.wait_for(CALLS)
        Usage(server).check()
    print(f"without memory: photos {outcomes}; small images {callers}")
    # UNAVAILABLE: the engine of a connection can't go on without memory, so the connection ends.
    assert set(outcomes.codes) <= {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    assert outcomes.codes["RESOURCE_EXHAUSTED"]
    assert {type(error) for error in callers.errors} <= {OverloadedError, UnavailableError}


def test_without_descriptors_connected_callers_go_on(tiny_repository: Path) -> None:
    with ServerProcess(tiny_repository) as server, load(server.target, RATE) as callers:
        for _ in range(rounds(1)):
            callers.wait_for(CALLS)
            open_now = len(list((Path("/proc") / str(server.process.pid) / "fd").iterdir()))
            with limited(server, resource.RLIMIT_NOFILE, open_now + 20), ExitStack() as others:
                for _ in range(CONNECTIONS):
                    others.enter_context(socket.create_connection(address(server)))
                callers.wait_for(CALLS)
            wait_until(partial(is_answered, server))
    print(f"without descriptors: {callers}")
    assert callers.errors == []


def address(server: ServerProcess) -> tuple[str, int]:
    host, _, port = server.target.rpartition(":")
    return host, int(port)


def is_answered(server: ServerProcess) -> bool:
    """Return whether a new connection is served."""
    with connected(server) as stub:
        try:
            return bool(stub.Classify(image_request(), timeout=1).results)
        except grpc.RpcError:
            return False
