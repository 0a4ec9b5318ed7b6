"""Retries, deadlines, missing servers, and TLS."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.client import (
    Client,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidInputError,
    OverloadedError,
    UnavailableError,
)

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("code", [FULL, UNAVAILABLE])
@pytest.mark.parametrize("pushback_ms", [None, 10])
def test_a_busy_server_is_tried_three_times(
    make_caller: Any, scripted_server: Any, code: grpc.StatusCode, pushback_ms: int | None
) -> None:
    target, servicer = scripted_server(code, code, pushback_ms=pushback_ms)
    assert make_caller(target).classify(b"yes", model="m").top.label == "yes"
    assert servicer.attempts == 3


def test_no_more_than_three_times(make_caller: Any, scripted_server: Any) -> None:
    target, servicer = scripted_server(FULL, FULL, FULL, FULL)
    with pytest.raises(OverloadedError, match="scripted RESOURCE_EXHAUSTED") as caught:
        make_caller(target).classify(b"x", model="m")
    assert caught.value.code is FULL
    assert servicer.attempts == 3


def test_each_of_many_is_retried(make_caller: Any, scripted_server: Any) -> None:
    target, servicer = scripted_server(FULL, FULL)
    results = list(make_caller(target).classify_many([b"x"] * 9, model="m", window=1))
    assert len(results) == 9
    assert servicer.attempts == 2 + len(servicer.requests)


def test_large_requests_are_retried_too(make_caller: Any, scripted_server: Any) -> None:
    target, servicer = scripted_server(FULL, FULL)
    large = b"x" * 2**22
    assert make_caller(target).classify(large, model="m").top.label == large.decode()
    assert servicer.attempts == 3


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidInputError),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPreconditionError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceededError),
        (grpc.StatusCode.INTERNAL, InternalError),
        (grpc.StatusCode.DATA_LOSS, InternalError),
    ],
)
def test_nothing_else_is_retried(
    make_caller: Any, scripted_server: Any, code: grpc.StatusCode, kind: type[Exception]
) -> None:
    target, servicer = scripted_server(code)
    with pytest.raises(kind, match=f"scripted {code.name}") as caught:
        make_caller(target).classify(b"x", model="m")
    assert caught.value.code is code  # type: ignore[attr-defined]
    assert servicer.attempts == 1


def test_a_call_without_a_reply_ends_at_the_deadline(make_caller: Any, silent_target: str) -> None:
    expected = r"within 0\.3 s; allow more with timeout_seconds$"
    with pytest.raises(DeadlineExceededError, match=expected) as caught:
        make_caller(silent_target, timeout_seconds=0.3).models()
    assert silent_target in caught.value.message


def test_the_error_for_a_missing_server_has_its_address(make_caller: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(UnavailableError, match="no server answers at") as caught:
        make_caller(target).classify(b"x", model="m")
    assert target in caught.value.message
    assert "start a server with: convscope-server" in caught.value.message


def test_a_stopped_server_is_a_missing_server(make_caller: Any, tiny_repository: Path) -> None:
    with ServerProcess(tiny_repository) as server:
        caller = make_caller(server.target)
        caller.models()
    with pytest.raises(UnavailableError, match="no server answers at"):
        caller.models()


@pytest.mark.parametrize("target", ["", "localhost", "http://localhost:8001", "https://a:1"])
def test_a_target_without_a_port_or_with_a_scheme_is_rejected(target: str) -> None:
    with pytest.raises(InvalidInputError, match="give HOST:PORT"):
        Client(target)


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory, tiny_repository: Path) -> Iterator[Any]:
    """A server with a self-signed certificate, and the path of the certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("makes a certificate with openssl, which is not installed")
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["-keyout", str(key), "-out", str(certificate), "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *made],
        check=True,
        capture_output=True,
    )
    flags = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with ServerProcess(tiny_repository, *flags) as server:
        yield server, certificate


def test_tls_with_root_certificates(make_caller: Any, tls_server: Any) -> None:
    server, certificate = tls_server
    for root_certificates in (certificate, str(certificate), certificate.read_bytes()):
        caller = make_caller(server.target, root_certificates=root_certificates)
        assert len(caller.models()) == 2
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    assert len(make_caller(server.target, tls=credentials).models()) == 2


def test_an_unsecured_client_of_a_tls_server_fails(make_caller: Any, tls_server: Any) -> None:
    server, _ = tls_server
    with pytest.raises(UnavailableError):
        make_caller(server.target, timeout_seconds=5).models()


def test_wrong_certificates_are_named(make_caller: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"'missing\.pem' can't be read"):
        make_caller("localhost:1", root_certificates="missing.pem")
    with pytest.raises(InvalidInputError, match="both given"):
        make_caller("localhost:1", root_certificates=b"", tls=grpc.ssl_channel_credentials())


def test_a_model_that_is_not_ready_is_not_a_missing_server(
    make_caller: Any, tmp_path: Path
) -> None:
    write_tiny(tmp_path)
    broken = write_tiny(tmp_path, "broken")
    (broken / "model.onnx").write_bytes(b"not what the manifest says")
    with ServerProcess(tmp_path) as server:
        with pytest.raises(UnavailableError, match="no version of broken is ready") as caught:
            make_caller(server.target).classify(b"x", model="broken")
        assert "start a server" not in caught.value.message
        assert server.target in caught.value.message
