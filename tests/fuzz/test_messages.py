"""Mutated messages of every method of every service: each call ends with a code that fits."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.message import Message
from support.explained import write_explained
from support.fuzz.messages import ADMIN, SERVICES, Call, Calls
from support.fuzz.runs import SECONDS, Input, groups, reported
from support.fuzz.server import Outcomes, Usage
from support.server import ServerProcess
from support.tiny import write_signal

from convscope.v1.admin_pb2 import LoadModelRequest
from convscope.v1.admin_pb2_grpc import AdminServiceStub

COUNT = 1200
ADMIN_COUNT = 300
CALLS_AT_ONCE = 8
CALL_SECONDS = 30.0
ENDLESS = "Watch"
ENDLESS_SECONDS = 0.02
MEMORY_MIB = 96


@pytest.fixture
def admin_address(tmp_path: Path) -> str:
    """The address of the server's AdminService."""
    return f"unix:{tmp_path / 'admin'}"


@pytest.fixture
def server(tmp_path: Path, admin_address: str) -> Iterator[ServerProcess]:
    """A server with a repository and an admin address of its own, because calls change both."""
    repository = tmp_path / "models"
    write_explained(repository)
    write_explained(repository, version=2)
    write_signal(repository)
    flags = ("--versions", "2", "--admin-address", admin_address)
    with ServerProcess(repository, *flags) as server:
        yield server


@pytest.mark.timeout(300 + SECONDS)
@pytest.mark.slow(seconds=15)
def test_mutated_messages(server: ServerProcess) -> None:
    outcomes, usage = Outcomes(), Usage(server)
    usage.check()
    before = usage.memory_mib()
    with grpc.insecure_channel(server.target) as channel:
        call_all(channel, Calls(*SERVICES), groups(COUNT, CALLS_AT_ONCE), outcomes)
    usage.check()
    print(f"messages: {outcomes}; {usage.memory_mib() - before:.0f} MiB more")
    assert usage.memory_mib() - before < MEMORY_MIB
    assert outcomes.codes["OK"] > outcomes.codes.total() / 20
    assert outcomes.codes["INVALID_ARGUMENT"] > outcomes.codes.total() / 20


@pytest.mark.timeout(300 + SECONDS)
def test_mutated_messages_of_operators(server: ServerProcess, admin_address: str) -> None:
    outcomes, usage = Outcomes(), Usage(server)
    with grpc.insecure_channel(admin_address) as channel:
        call_all(channel, Calls(ADMIN), groups(ADMIN_COUNT, CALLS_AT_ONCE), outcomes)
        AdminServiceStub(channel).LoadModel(LoadModelRequest(model="tiny"), timeout=CALL_SECONDS)
    usage.check()
    print(f"messages of operators: {outcomes}")
    assert outcomes.codes["OK"] > outcomes.codes.total() / 20
    assert outcomes.codes["INVALID_ARGUMENT"] > outcomes.codes.total() / 20


def call_all(
    channel: grpc.Channel, make: Calls, inputs: Iterable[list[Input]], outcomes: Outcomes
) -> None:
    """Make the calls of each group at once, and check how each ends."""
    for group in inputs:
        for one, replies in [(one, start(channel, make(one.random))) for one in group]:
            with reported(one):
                try:
                    for reply in replies:
                        outcomes.add_reply(reply)
                except grpc.RpcError as error:
                    outcomes.add(error)
                else:
                    outcomes.add(None)


def start(channel: grpc.Channel, call: Call) -> Iterable[Message]:
    """Start a call, and return what its replies are read from."""
    kind = message_factory.GetMessageClass(call.method.output_type)
    method: Any = channel.stream_stream(call.path, response_deserializer=kind.FromString)
    seconds = ENDLESS_SECONDS if call.method.name == ENDLESS else CALL_SECONDS
    replies: Iterable[Message] = method(iter(call.messages), timeout=seconds)
    return replies
