"""Unloading a version releases its memory."""

from pathlib import Path

import grpc
import pytest
from support.alterations import burden
from support.calls import connected, image_request
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.v1 import admin_pb2 as pb
from convscope.v1 import admin_pb2_grpc

COLUMNS = 4096
MODEL_BYTES = 1024 * COLUMNS * 4
ROUNDS, SETTLING_ROUNDS = 40, 10


def resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@pytest.mark.slow(seconds=10)
@pytest.mark.one_transport("measures the memory of models")
@pytest.mark.timeout(900)
def test_memory_returns_after_every_load_and_unload(tmp_path: Path) -> None:
    write_tiny(tmp_path, "big", alter_graph=burden(COLUMNS))
    write_tiny(tmp_path, "small")
    address = f"unix:{tmp_path / '.admin.sock'}"
    flags = ("--poll-seconds", "0", "--admin-address", address)
    with (
        ServerProcess(tmp_path, *flags) as server,
        grpc.insecure_channel(address) as channel,
        connected(server) as classifier,
    ):
        admin = admin_pb2_grpc.AdminServiceStub(channel)
        left = []
        for _ in range(ROUNDS):
            admin.UnloadModel(pb.UnloadModelRequest(model="big"), timeout=60)
            left.append(resident_bytes(server.process.pid))
            admin.LoadModel(pb.LoadModelRequest(model="big"), timeout=60)
            assert classifier.Classify(image_request(model="big"), timeout=60).model == "big"
    settled = max(left[:SETTLING_ROUNDS])
    assert max(left[-SETTLING_ROUNDS:]) < settled + MODEL_BYTES / 2
