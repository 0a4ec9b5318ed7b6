"""Callers that are identified by client certificates, and TLS files that are replaced."""

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest
from support.access import Metadata, PolicyFile, bearer
from support.calls import TIMEOUT_SECONDS, image_request, rejection, sample, wait_until
from support.server import ServerProcess

from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

pytestmark = pytest.mark.one_transport("starts a server on each transport itself")

ROBOT = "spiffe://example/robot"


class Certificates:
    """Self-signed certificates; the authorities of the clients are the certificates themselves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, name: str, subject: str, alternative: str) -> None:
        """Make a certificate and its key."""
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += [
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
            "-subj",
            f"/CN={subject}",
        ]
        command += ["-addext", f"subjectAltName={alternative}", "-keyout", str(self.key(name))]
        try:
            subprocess.run(
                [*command, "-out", str(self.chain(name))], check=True, capture_output=True
            )
        except FileNotFoundError:
            pytest.skip("openssl is not installed; it makes the certificates")

    def chain(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def credentials(self, name: str) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(
            self.chain("server").read_bytes(),
            self.key(name).read_bytes(),
            self.chain(name).read_bytes(),
        )


class Served:
    """A server that requires client certificates."""

    def __init__(self, server: ServerProcess, policy: PolicyFile, files: Certificates) -> None:
        self.server = server
        self.policy = policy
        self.files = files

    def call(
        self, certificate: str, metadata: Metadata | None = None, rpc: str = "Classify"
    ) -> tuple[grpc.StatusCode, str]:
        """The outcome of a call on a new connection."""
        target = f"localhost:{self.server.target.rpartition(':')[2]}"
        credentials = self.files.credentials(certificate)
        with grpc.secure_channel(target, credentials) as channel:
            stub = inference_pb2_grpc.ClassifierServiceStub(channel)
            request = image_request() if rpc == "Classify" else pb.ListModelsRequest()
            call = getattr(stub, rpc)
            try:
                call(request, timeout=TIMEOUT_SECONDS, metadata=metadata, wait_for_ready=True)
            except grpc.RpcError:
                return rejection(call, request, metadata=metadata)
        return grpc.StatusCode.OK, ""


@pytest.fixture(scope="module")
def served(
    transport: str, tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    files = Certificates(tmp_path_factory.mktemp("certificates"))
    files.make("server", "server", "DNS:localhost")
    files.make("robot", "x", f"URI:{ROBOT}")
    files.make("host", "x", "DNS:host.example")
    files.make("person", "person", "email:host.example")
    files.make("liar", "liar", f"email:robot@example,DNS:{ROBOT.replace('://', '.')}")
    names = ("robot", "host", "person", "liar")
    ca = files.folder / "authorities.pem"
    ca.write_text("".join(files.chain(name).read_text() for name in names))
    callers = {
        "robot": f'certificates = ["URI:{ROBOT}"]\nrpcs = ["inference"]',
        "host": 'certificates = ["DNS:host.example"]',
        "person": 'certificates = ["CN:person"]',
        "token": 'rpcs = ["metadata"]',
    }
    policy = PolicyFile(tmp_path_factory.mktemp("policy"), callers)
    tls = ("--tls-certificate", str(files.chain("server")), "--tls-key", str(files.key("server")))
    flags = (*tls, "--tls-client-ca", str(ca), "--policy", str(policy.path))
    with ServerProcess(tiny_repository, "--transport", transport, *flags) as server:
        yield Served(server, policy, files)


def has_called(served: Served, name: str) -> bool:
    return name in [line.get("caller") for line in served.server.log]


def test_callers_by_their_certificates(served: Served) -> None:
    for name in ("robot", "host", "person"):
        assert served.call(name) == (grpc.StatusCode.OK, ""), name
        wait_until(partial(has_called, served, name))
    code, message = served.call("robot", rpc="ListModels")
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert message.startswith("the caller 'robot' may not call ListModels")


def test_a_certificate_of_no_caller(served: Served) -> None:
    code, message = served.call("liar")
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "no caller of the server's policy has the client certificate of " in message
    assert "CN:liar" in message


def test_a_token_decides(served: Served) -> None:
    token = served.policy.metadata("token")
    assert served.call("liar", token, "ListModels")[0] is grpc.StatusCode.OK
    assert served.call("robot", token)[0] is grpc.StatusCode.PERMISSION_DENIED
    wrong = bearer("wrong")
    assert served.call("robot", wrong)[0] is grpc.StatusCode.UNAUTHENTICATED


# The last test of a server, because it replaces the certificate


def test_a_damaged_certificate_is_not_used(served: Served, transport: str) -> None:
    chain = served.files.chain("server")
    before = chain.read_bytes()
    chain.write_text("damaged")

    def is_reported() -> bool:
        return any(
            line["event"] == "the changed TLS files can't be used" for line in served.server.log
        )

    try:
        call_trusting(served, before)  # with grpc-aio, a handshake looks at the files
        wait_until(is_reported)
        if transport == "http2":
            assert sample(served.server, "convscope_reload_failed", file="tls") == 1
    finally:
        chain.write_bytes(before)
    if transport == "http2":
        wait_until(lambda: sample(served.server, "convscope_reload_failed", file="tls") == 0)
    assert served.call("robot")[0] is grpc.StatusCode.OK


def call_trusting(served: Served, trusted: bytes) -> None:
    """Call with the certificate that was valid before."""
    target = f"localhost:{served.server.target.rpartition(':')[2]}"
    files = served.files
    credentials = grpc.ssl_channel_credentials(
        trusted, files.key("robot").read_bytes(), files.chain("robot").read_bytes()
    )
    with grpc.secure_channel(target, credentials) as channel:
        stub = inference_pb2_grpc.ClassifierServiceStub(channel)
        assert stub.Classify(image_request(), timeout=TIMEOUT_SECONDS).model == "tiny"
