"""Tokens and client certificates, as both clients and the commands send them."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.certificates import make_certificate
from support.guarded import LIMITED, TOKEN, VIEWER, GuardedServer, guarded
from support.server import ServerProcess

from convscope.client import (
    AdminClient,
    InternalError,
    InvalidInputError,
    OverloadedError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from convscope.client._connection.targets import is_local

from ..conftest import png

IMAGE = png((200, 30, 20))
ELSEWHERE = "example.org:8001"


@pytest.fixture
def server(tiny_server: ServerProcess) -> Iterator[GuardedServer]:
    with guarded(tiny_server.target) as server:
        yield server


def jwt(name: str, expires_in_seconds: float) -> str:
    """Return an unsigned JWT, of which a client reads only when it expires."""
    claims = json.dumps({"sub": name, "exp": time.time() + expires_in_seconds}).encode()
    payload = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    return f"e30.{payload}.c2ln"


def test_every_call_sends_the_token(make_caller: Any, server: GuardedServer) -> None:
    caller = make_caller(server.target, token=TOKEN)
    assert caller.classify(IMAGE, model="tiny").top.label == "red"
    assert len(list(caller.classify_many([IMAGE] * 3, model="tiny"))) == 3
    assert caller.model("tiny").model == "tiny"
    assert {token for _, token in server.seen} == {f"Bearer {TOKEN}"}


def test_the_metadata_of_a_call_has_priority(make_caller: Any, server: GuardedServer) -> None:
    caller = make_caller(server.target, token="wrong")
    metadata = {"authorization": f"Bearer {TOKEN}"}
    assert caller.classify(IMAGE, model="tiny", metadata=metadata).top.label == "red"
    assert [token for _, token in server.seen] == [f"Bearer {TOKEN}"]


def test_errors_name_the_repair_and_never_the_token(
    make_caller: Any, server: GuardedServer
) -> None:
    with pytest.raises(UnauthenticatedError, match="no credentials; give a token") as caught:
        make_caller(server.target).models()
    assert "token or token_file" in caught.value.message
    caller = make_caller(server.target, token="wr0ng")
    for call in (caller.models, lambda: caller.classify(IMAGE, model="tiny")):
        with pytest.raises(UnauthenticatedError, match="the token is not valid") as caught:
            call()
        assert "wr0ng" not in f"{caught.value} {caller.client!r}"
    with pytest.raises(
        PermissionDeniedError, match=r"viewer may not .* other credentials, with token"
    ):
        make_caller(server.target, token=VIEWER).classify(IMAGE, model="tiny")
    # None of them was tried again.
    assert len(server.seen) == 4


def test_a_caller_over_its_rate_waits_as_the_server_says(
    make_caller: Any, server: GuardedServer
) -> None:
    started_at = time.monotonic()
    with pytest.raises(OverloadedError, match="over its rate"):
        make_caller(server.target, token=LIMITED).classify(IMAGE, model="tiny")
    assert len(server.seen) == 3
    assert time.monotonic() - started_at >= 2 * server.pushback_ms / 1000


def test_a_file_is_read_again_when_it_changes(
    make_caller: Any, server: GuardedServer, tmp_path: Path
) -> None:
    # As Kubernetes replaces projected tokens: by a link to another directory.
    for name, token in (("old", "expired"), ("new", TOKEN)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(f"{token}\n")
    link, next_link = tmp_path / "data", tmp_path / "next"
    link.symlink_to(tmp_path / "old")
    caller = make_caller(server.target, token_file=link / "token")
    with pytest.raises(UnauthenticatedError):
        caller.models()
    next_link.symlink_to(tmp_path / "new")
    next_link.replace(link)
    assert len(caller.models()) == 2
    (tmp_path / "new" / "token").unlink()  # for a moment
    assert len(caller.models()) == 2


def test_a_rejected_token_is_replaced_once(make_caller: Any, server: GuardedServer) -> None:
    tokens = ["expired", TOKEN]
    caller = make_caller(server.target, token=lambda: tokens.pop(0))
    assert caller.classify(IMAGE, model="tiny").top.label == "red"
    assert [token for _, token in server.seen] == ["Bearer expired", f"Bearer {TOKEN}"]
    # The token in use expires while several requests are in flight.
    server.valid = {"next"}
    tokens.append("next")
    assert len(list(caller.classify_many([IMAGE] * 200, model="tiny"))) == 200
    assert tokens == []
    server.valid = {"never"}
    tokens += ["one", "two"]
    server.seen.clear()
    with pytest.raises(UnauthenticatedError, match="not valid"):
        caller.models()
    assert [token for _, token in server.seen] == ["Bearer next", "Bearer one"]


def test_a_jwt_is_replaced_before_it_expires(make_caller: Any, server: GuardedServer) -> None:
    short, long = jwt("short", 0.5), jwt("long", 3600)
    tokens = [short, long]
    server.valid = {short, long}
    caller = make_caller(server.target, token=lambda: tokens.pop(0))
    caller.models()
    time.sleep(0.5)
    for _ in range(3):
        caller.models()
    assert [token for _, token in server.seen] == [f"Bearer {short}"] + [f"Bearer {long}"] * 3


def test_a_jwt_whose_end_is_no_time_is_sent(make_caller: Any, server: GuardedServer) -> None:
    claims = base64.urlsafe_b64encode(b'{"exp": 1%s}' % (b"0" * 400)).rstrip(b"=").decode()
    token = f"e30.{claims}.c2ln"
    server.valid = {token}
    assert make_caller(server.target, token=lambda: token).models()


def test_a_function_that_fails_is_named(make_caller: Any, server: GuardedServer) -> None:
    def fail() -> str:
        raise ValueError("s3cret")

    for call in ("models", "classify"):
        caller = make_caller(server.target, token=fail)
        with pytest.raises(UnauthenticatedError, match="failed with ValueError") as caught:
            caller.models() if call == "models" else caller.classify(IMAGE, model="tiny")
        assert "s3cret" not in str(caught.value)
    with pytest.raises(UnauthenticatedError, match="is empty"):
        make_caller(server.target, token=lambda: "").models()
    assert server.seen == []


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"token": ""}, "is empty"),
        ({"token": "two words"}, "has characters that no token has"),
        ({"token": "a\nb"}, "has characters that no token has"),
        ({"token": "Bearer s3cret"}, 'starts with "Bearer"'),
        ({"token": 5}, "must be a str, or a function"),
        ({"token": "a", "token_file": "b"}, "both given"),
        ({"token_file": "missing"}, "'missing' can't be read: No such file"),
        ({"client_key": "b"}, "go together"),
    ],
)
def test_unusable_credentials_are_rejected_at_once(
    make_caller: Any, options: dict[str, Any], part: str
) -> None:
    with pytest.raises(InvalidInputError, match=part) as caught:
        make_caller("localhost:1", **options)
    assert "s3cret" not in str(caught.value)


def test_a_token_is_not_sent_to_another_machine_without_tls(make_caller: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"readable on the way to {ELSEWHERE}; use TLS"):
        make_caller(ELSEWHERE, token=TOKEN)
    make_caller(ELSEWHERE, token=TOKEN, allow_insecure_token=True)
    make_caller(ELSEWHERE, token=TOKEN, root_certificates=b"")


def test_a_token_for_this_machine_is_not_sent_through_a_proxy(
    make_caller: Any, server: GuardedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("no_proxy", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("grpc_proxy", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, address)
        assert make_caller(server.target, token=TOKEN, timeout_seconds=5).models()
    assert server.seen


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("localhost:1", True),
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("unix:/run/a.sock", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("127.0.0.1.example.org:1", False),
        ("10.0.0.1:1", False),
        ("dns:///server:1", False),
        ("[::2]:1", False),
    ],
)
def test_targets_on_this_machine(target: str, expected: bool) -> None:
    assert is_local(target) is expected


def test_the_token_of_an_admin_client_is_sent(server: GuardedServer) -> None:
    with AdminClient(server.target, token=TOKEN) as client, pytest.raises(InternalError):
        client.status()
    assert [token for _, token in server.seen] == [f"Bearer {TOKEN}"]


def test_a_client_certificate(make_caller: Any, tiny_repository: Path, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "server")
    own_certificate, own_key = make_certificate(tmp_path, "client")
    flags = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with ServerProcess(tiny_repository, *flags, "--tls-client-ca", str(own_certificate)) as server:
        target = server.target.replace("127.0.0.1", "localhost")
        options = {"client_certificate": own_certificate, "client_key": own_key.read_bytes()}
        caller = make_caller(target, root_certificates=certificate, token=TOKEN, **options)
        assert len(caller.models()) == 2
        with pytest.raises(UnavailableError, match="give client_certificate and client_key"):
            make_caller(target, timeout_seconds=5, root_certificates=certificate).models()
        with pytest.raises(UnavailableError, match="uses TLS, and this client doesn't"):
            make_caller(target, timeout_seconds=5).models()


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONVSCOPE_TOKEN")}
    return subprocess.run(
        [sys.executable, "-m", "convscope.client", *arguments],
        capture_output=True,
        text=True,
        env=environment | variables,
    )


def test_the_commands_send_a_token_from_a_file_or_the_environment(
    server: GuardedServer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    listing = ("models", "--server", server.target)
    assert "tiny" in run(*listing, "--token-file", str(file)).stdout
    assert "tiny" in run(*listing, CONVSCOPE_TOKEN_FILE=str(file)).stdout
    assert "tiny" in run(*listing, CONVSCOPE_TOKEN=TOKEN).stdout
    assert {token for _, token in server.seen} == {f"Bearer {TOKEN}"}
    missing = run(*listing)
    assert missing.returncode == 1
    assert "--token-file or $CONVSCOPE_TOKEN" in missing.stderr


def test_a_token_on_the_command_line_is_rejected() -> None:
    for arguments in (("--token", "s3cret"), ("--token=s3cret",)):
        done = run("models", *arguments)
        assert done.returncode == 64
        assert "give --token-file FILE" in done.stderr
        assert "s3cret" not in done.stdout + done.stderr
