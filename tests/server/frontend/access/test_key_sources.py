"""The keys of an issuer: from a file or a URL, damaged, changed, and fetched again."""

import asyncio
import json
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from structlog.testing import capture_logs
from support.access import JWT_TABLE, ROBOT, admit, control, failure, issuer_keys
from support.http2 import until

from convscope.server.errors import StartError, UnavailableError
from convscope.server.frontend.access import key_source
from convscope.server.frontend.access.control import AccessControl


def test_weak_and_damaged_keys(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    other_curve = {"kty": "EC", "crv": "P-384", "x": "AQ", "y": "AQ"}
    off_curve = {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}
    for text, message in (
        (None, "the file of keys can't be read: No such file or directory"),
        ("[]", 'the keys are not JSON with a list "keys"'),
        ('{"keys": []}', "none of the keys is an RSA key or a P-256 key for signatures"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}, 1]}', "none of the keys is an RSA key"),
        ('{"keys": [{"kty": ["RSA"]}, {"kty": "EC", "crv": {}}]}', "none of the keys is an RSA"),
        (json.dumps({"keys": [other_curve]}), "none of the keys is an RSA key"),
        (json.dumps({"keys": [off_curve]}), "keys[0] is damaged"),
        (
            json.dumps({"keys": [json.loads(RSAAlgorithm.to_jwk(weak))]}),
            "keys[0] has 1024 bits; an RSA key needs 2048",
        ),
    ):
        if text is not None:
            (tmp_path / "keys.json").write_text(text)
        with pytest.raises(StartError) as caught:
            control(tmp_path)
        assert str(caught.value).startswith(f"--policy {tmp_path / 'policy.toml'}: jwt.jwks is")
        assert f"keys.json': {message}" in str(caught.value)


def test_private_keys_in_the_file_are_not_read(tmp_path: Path) -> None:
    private = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(issuer_keys().ec))
    assert "d" in private
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [private]}))
    assert admit(control(tmp_path), issuer_keys().sign("ec", headers={})) == "robot"


def test_a_file_of_keys_that_changes(tmp_path: Path) -> None:
    path, states = tmp_path / "keys.json", list[tuple[str, bool]]()
    path.write_text(issuer_keys().jwks())
    access = control(tmp_path, on_reload=lambda *state: states.append(state))
    token = issuer_keys().sign("ec")
    assert admit(access, token) == "robot"
    path.write_text("{")
    with capture_logs() as logs:
        access.reload(force=False)
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("token keys can't be loaded; the ones before stay in use", "error")
    ]
    assert admit(access, token) == "robot"
    path.write_text(issuer_keys().jwks("rsa"))
    access.reload(force=False)
    assert "is not one of the issuer's keys" in failure(access, token).message
    assert states == [("jwks", False), ("jwks", True)]


def test_a_file_of_keys_that_changes_with_the_policy(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(issuer_keys().jwks())
    access, token = control(tmp_path), issuer_keys().sign("ec")
    assert admit(access, token) == "robot"
    (tmp_path / "keys.json").write_text(issuer_keys().jwks("rsa"))
    (tmp_path / "policy.toml").write_text(ROBOT + JWT_TABLE + "leeway_seconds = 5\n")
    access.reload(force=False)
    assert "is not one of the issuer's keys" in failure(access, token).message


class Issuer:
    """A server of keys."""

    def __init__(self) -> None:
        self.reply: str | None = None
        self.count = 0
        self.pause_seconds = 0.0  # before each byte
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.count += 1
                self.send_response(302 if issuer.reply == "elsewhere" else 200)
                if issuer.reply is None:
                    self.close_connection = True
                    return
                if issuer.reply == "elsewhere":
                    self.send_header("location", "file:///etc/passwd")
                self.end_headers()
                try:
                    self.send(issuer.reply.encode())
                except OSError:  # the server has left
                    self.close_connection = True

            def send(self, reply: bytes) -> None:
                if not issuer.pause_seconds:
                    self.wfile.write(reply)
                    return
                for byte in reply[:20]:
                    self.wfile.write(bytes([byte]))
                    time.sleep(issuer.pause_seconds)

            def log_message(self, format: str, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"
        Thread(target=partial(self.server.serve_forever, 0.02), daemon=True).start()


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Issuer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(key_source, "MIN_FETCH_SECONDS", 0.05)
    monkeypatch.setattr(key_source, "RETRY_SECONDS", 0.05)
    issuer = Issuer()
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()


async def test_keys_of_a_url(issuer: Issuer, tmp_path: Path) -> None:
    states: list[tuple[str, bool]] = []
    table = JWT_TABLE.replace("keys.json", issuer.url)
    access = control(tmp_path, table, on_reload=lambda *state: states.append(state))
    token = issuer_keys().sign("rsa")
    assert isinstance(failure(access, token), UnavailableError)
    with capture_logs() as logs:
        following = asyncio.create_task(access.follow())
        await until(lambda: ("jwks", False) in states)
        issuer.reply = "elsewhere"
        seen = issuer.count
        await until(lambda: issuer.count > seen + 1)
        assert ("jwks", True) not in states
        issuer.reply = issuer_keys().jwks("rsa")
        await until(lambda: ("jwks", True) in states)
        assert admit(access, token) == "robot"
        # A new key is fetched when a token of it arrives.
        issuer.reply = issuer_keys().jwks()
        assert "is not one of the issuer's" in failure(access, issuer_keys().sign("ec")).message
        seen = len(states)
        await until(lambda: len(states) > seen)
        assert admit(access, issuer_keys().sign("ec")) == "robot"
        # The keys stay when the issuer can't be reached.
        issuer.reply, seen = None, len(states)
        access.reload()
        await until(lambda: ("jwks", False) in states[seen:])
        assert admit(access, token) == "robot"
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    events = [line["event"] for line in logs]
    assert "token keys loaded" in events
    failures = [event for event in events if event.startswith("token keys can't be loaded; ")]
    assert failures[0].endswith("no token can be verified yet")
    assert failures[-1].endswith("the ones before stay in use")


@pytest.mark.parametrize("wrong", ['{"keys": [{"kty": ["RSA"]}]}', '{"keys": {}}', "[" * 5000])
async def test_wrong_keys_of_a_url_do_not_end_the_fetches(
    issuer: Issuer, tmp_path: Path, wrong: str
) -> None:
    states: list[tuple[str, bool]] = []
    issuer.reply = wrong
    table = JWT_TABLE.replace("keys.json", issuer.url)
    access = control(tmp_path, table, on_reload=lambda *state: states.append(state))
    following = asyncio.create_task(access.follow())
    await until(lambda: ("jwks", False) in states)
    issuer.reply = issuer_keys().jwks()
    await until(lambda: ("jwks", True) in states)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_an_issuer_that_sends_slowly_delays_one_fetch(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_source, "FETCH_SECONDS", 0.2)
    monkeypatch.setattr(issuer, "pause_seconds", 0.1)
    states: list[tuple[str, bool]] = []
    issuer.reply = issuer_keys().jwks()
    table = JWT_TABLE.replace("keys.json", issuer.url)
    access = control(tmp_path, table, on_reload=lambda *state: states.append(state))
    following = asyncio.create_task(access.follow())
    await until(lambda: ("jwks", False) in states)
    monkeypatch.setattr(issuer, "pause_seconds", 0.0)
    await until(lambda: ("jwks", True) in states)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_other_rules_for_tokens_keep_the_keys_of_the_same_url(
    issuer: Issuer, tmp_path: Path
) -> None:
    issuer.reply = issuer_keys().jwks()
    table = JWT_TABLE.replace("keys.json", issuer.url)
    access = control(tmp_path, table)
    following = asyncio.create_task(access.follow())
    token = issuer_keys().sign()
    await until(lambda: issuer.count > 0 and is_admitted(access, token))
    issuer.reply = None
    (tmp_path / "policy.toml").write_text(ROBOT + table + "leeway_seconds = 5\n")
    access.reload()
    assert admit(access, token) == "robot"
    (tmp_path / "policy.toml").write_text(ROBOT + table.replace("/keys", "/others"))
    access.reload()
    assert isinstance(failure(access, token), UnavailableError)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def is_admitted(access: AccessControl, token: str) -> bool:
    try:
        return bool(admit(access, token))
    except UnavailableError:
        return False
