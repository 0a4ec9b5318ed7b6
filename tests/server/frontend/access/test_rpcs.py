"""Every RPC of every service, with every kind of credentials, on both transports."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from support.access import JWT_TABLE, Metadata, PolicyFile, bearer, issuer_keys
from support.calls import rejection
from support.server import ServerProcess

from convscope.open_inference import open_inference_pb2
from convscope.server.frontend.access.methods import GROUPS
from convscope.server.frontend.open_inference.registration import UNSUPPORTED
from convscope.v1 import admin_pb2, admin_pb2_grpc, inference_pb2

pytestmark = pytest.mark.one_transport("starts a server on each transport itself")

DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
# What an empty message is answered with when the call is admitted.
ADMITTED = (
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
)
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
OPEN_INFERENCE = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
SERVICES: Sequence[ServiceDescriptor] = (
    inference_pb2.DESCRIPTOR.services_by_name["ClassifierService"],
    OPEN_INFERENCE,
    ADMIN,
    health_pb2.DESCRIPTOR.services_by_name["Health"],
    REFLECTION,
)
# The groups that each kind of credentials admits; health is open to everyone.
RIGHTS = {
    "none": set[str](),
    "bad": set[str](),
    "inference": {"inference"},
    "admin": {"admin"},
    "jwt": {"inference", "metadata"},
}


def every_path() -> list[str]:
    paths = [f"/{s.full_name}/{method.name}" for s in SERVICES for method in s.methods]
    paths += [f"/{OPEN_INFERENCE.full_name}/{name}" for name in UNSUPPORTED]
    return [*paths, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"]


def test_every_rpc_is_in_one_group() -> None:
    members = [path for group in GROUPS.values() for path in group]
    assert sorted(members) == sorted(every_path())


@dataclass
class Served:
    """A server with a policy, and the credentials of its callers."""

    server: ServerProcess
    credentials: dict[str, Metadata]
    channels: dict[str, grpc.Channel]

    def code(self, path: str, kind: str) -> grpc.StatusCode:
        """The code of a call with an empty message."""
        listener = "admin" if ADMIN.full_name in path else "main"
        call: Any = self.channels[listener].stream_stream(path)
        replies = call(iter([b""]), metadata=self.credentials[kind], timeout=30)
        try:
            next(replies, None)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        replies.cancel()  # a watch doesn't end
        return grpc.StatusCode.OK


@pytest.fixture(scope="module", params=["http2", "grpc-aio"])
def served(
    request: pytest.FixtureRequest, tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("policy")
    keys = issuer_keys()
    (folder / "keys.json").write_text(keys.jwks())
    robot = '[callers.robot]\nsubjects = ["robot"]\n'
    callers = {
        "inference": 'rpcs = ["inference"]',
        "admin": 'rpcs = ["admin"]',
        "team": 'rpcs = ["admin"]\nmodels = ["team-*"]',
    }
    policy = PolicyFile(folder, callers, robot + JWT_TABLE)
    credentials = {
        "none": (),
        "bad": bearer("cvs_" + "x" * 43),
        "inference": policy.metadata("inference"),
        "admin": policy.metadata("admin"),
        "team": policy.metadata("team"),
        "jwt": bearer(keys.sign()),
    }
    flags = ("--policy", str(policy.path), "--admin-address", "127.0.0.1:0")
    with ServerProcess(tiny_repository, "--transport", request.param, *flags) as server:
        port = next(line["port"] for line in server.log if line["event"] == "admin serving")
        with (
            grpc.insecure_channel(server.target) as main,
            grpc.insecure_channel(f"127.0.0.1:{port}") as admin,
        ):
            yield Served(server, credentials, {"main": main, "admin": admin})


@pytest.mark.parametrize("kind", RIGHTS)
def test_every_rpc(served: Served, kind: str) -> None:
    for group, paths in GROUPS.items():
        for path in sorted(paths):
            code = served.code(path, kind)
            if group in RIGHTS[kind] or group == "health":
                assert code in ADMITTED, path
            elif RIGHTS[kind]:
                assert code is grpc.StatusCode.PERMISSION_DENIED, path
            else:
                assert code is grpc.StatusCode.UNAUTHENTICATED, path


def test_an_operator_of_some_models_learns_of_no_others(served: Served) -> None:
    stub = admin_pb2_grpc.AdminServiceStub(served.channels["admin"])
    options: Any = {"metadata": served.credentials["team"], "timeout": 30}
    assert not stub.GetStatus(admin_pb2.GetStatusRequest(), **options).models
    for call, request in (
        (stub.LoadModel, admin_pb2.LoadModelRequest(model="team-a")),
        (stub.UnloadModel, admin_pb2.UnloadModelRequest(model="team-a")),
        (stub.SetAlias, admin_pb2.SetAliasRequest(model="team-a", alias="a", version=1)),
        (stub.GetStatus, admin_pb2.GetStatusRequest(model="team-a")),
    ):
        code, message = rejection(call, request, **options)
        assert code is grpc.StatusCode.NOT_FOUND
        assert message.endswith("has: no model")
    for call, request in (
        (stub.LoadModel, admin_pb2.LoadModelRequest(model="tiny")),
        (stub.GetStatus, admin_pb2.GetStatusRequest(model="tiny")),
    ):
        assert rejection(call, request, **options)[0] is grpc.StatusCode.PERMISSION_DENIED
