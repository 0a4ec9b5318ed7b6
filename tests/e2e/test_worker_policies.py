"""A policy with several workers: each has its share of the rates, and SIGHUP reaches all."""

import signal
from pathlib import Path

import grpc
import pytest
from support.access import PolicyFile
from support.calls import connected, image_request, rejection, sample, wait_until
from support.server import ServerProcess

from convscope.v1 import admin_pb2 as pb
from convscope.v1 import admin_pb2_grpc

pytestmark = pytest.mark.slow

WORKERS = 2


def test_all_workers_follow_the_policy(tiny_repository: Path, tmp_path: Path) -> None:
    limits = "images_per_second = 0.01\nburst_seconds = 100"
    policy = PolicyFile(tmp_path, {"web": "", "rated": limits})
    flags = ("--workers", str(WORKERS), "--policy", str(policy.path))
    with ServerProcess(tiny_repository, *flags) as server:
        web, rated = policy.metadata("web"), policy.metadata("rated")
        (serving,) = [line for line in server.log if line["event"] == "serving"]
        with connected(server) as stub:
            assert rejection(stub.Classify, image_request())[0] is grpc.StatusCode.UNAUTHENTICATED
            assert stub.Classify(image_request(), timeout=30, metadata=web).model == "tiny"
            stub.Classify(image_request(), timeout=30, metadata=rated)
            code, message = rejection(stub.Classify, image_request(), metadata=rated)
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "is over its 0.005 images per second" in message

        def loaded() -> int:
            return sum(line["event"] == "policy loaded" for line in server.log)

        wait_until(lambda: loaded() == WORKERS)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: loaded() == 2 * WORKERS)
        assert not any(line["event"] == "worker ended" for line in server.log)
        policy.write({"web": 'models = ["signal"]'})
        wait_until(lambda: loaded() == 3 * WORKERS)
        for _ in range(8):  # separate connections, so that both workers get some
            with connected(server) as stub:
                code, _ = rejection(stub.Classify, image_request(), metadata=web)
                assert code is grpc.StatusCode.PERMISSION_DENIED
        assert serving["workers"]


def test_an_operator_of_some_models_reaches_only_those(
    tiny_repository: Path, tmp_path: Path
) -> None:
    rights = 'rpcs = ["admin"]\nmodels = ["team-*", "signal"]'
    policy = PolicyFile(tmp_path, {"team": rights, "web": ""})
    address = f"unix:{tmp_path / 'admin'}"
    flags = ("--workers", str(WORKERS), "--policy", str(policy.path), "--admin-address", address)
    with (
        ServerProcess(tiny_repository, *flags) as server,
        grpc.insecure_channel(address) as channel,
    ):
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        everything, unload = pb.GetStatusRequest(), pb.UnloadModelRequest
        assert rejection(stub.GetStatus, everything)[0] is grpc.StatusCode.UNAUTHENTICATED
        web, team = policy.metadata("web"), policy.metadata("team")
        code, _ = rejection(stub.GetStatus, everything, metadata=web)
        assert code is grpc.StatusCode.PERMISSION_DENIED
        code, _ = rejection(stub.UnloadModel, unload(model="tiny"), metadata=team)
        assert code is grpc.StatusCode.PERMISSION_DENIED
        reply = rejection(stub.UnloadModel, unload(model="team-a"), metadata=team)
        hint = "the repository has: signal"
        assert reply == (grpc.StatusCode.NOT_FOUND, f"no model 'team-a'; {hint}")
        reply = rejection(stub.UnloadModel, unload(model="signal", version=9), metadata=team)
        hint = "the repository has: 1"
        assert reply == (grpc.StatusCode.NOT_FOUND, f"signal has no version 9; {hint}")
        (status,) = stub.GetStatus(everything, timeout=30, metadata=team).models
        assert status.model == "signal"

        def denied(reason: str) -> float:
            return sample(server, "convscope_denied_calls_total", reason=reason)

        assert (denied("unauthenticated"), denied("rpc"), denied("model")) == (1, 1, 1)

        def loaded() -> int:
            return sum(line["event"] == "policy loaded" for line in server.log)

        wait_until(lambda: loaded() == WORKERS + 1)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: loaded() == 2 * (WORKERS + 1))
