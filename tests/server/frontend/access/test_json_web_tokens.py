"""JSON web tokens: which ones are valid, floods of invalid ones, and keys that change."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm
from structlog.testing import capture_logs
from support.access import JWT_TABLE, Keys, issuer_keys
from support.http2 import until

from convscope.server.errors import (
    CallerLimitError,
    PermissionDeniedError,
    ServingError,
    StartError,
    UnauthenticatedError,
    UnavailableError,
)
from convscope.server.frontend.access import key_source
from convscope.server.frontend.access.control import AccessControl
from convscope.server.frontend.access.credentials import Credential
from convscope.server.frontend.access.json_web_tokens import TokenVerifier

ROBOT = '[callers.robot]\nsubjects = ["robot"]\n'
PATH = "/convscope.v1.ClassifierService/Classify"


class Peer:
    """The other end of a connection without TLS."""

    def __init__(self, peer: str = "ipv4:192.0.2.1:4000") -> None:
        self.peer = peer
        self.auth_context: dict[str, list[bytes]] = {}


def control(folder: Path, table: str = JWT_TABLE, **options: Any) -> AccessControl:
    (folder / "policy.toml").write_text(ROBOT + table)
    return AccessControl(folder / "policy.toml", **options)


@pytest.fixture
def access(tmp_path: Path) -> AccessControl:
    (tmp_path / "keys.json").write_text(issuer_keys().jwks())
    return control(tmp_path, JWT_TABLE + "leeway_seconds = 5\n")


def admit(access: AccessControl, token: str, peer: Peer | None = None) -> str:
    return access.admit(PATH, Credential(f"Bearer {token}"), peer or Peer()).caller.name


def failure(access: AccessControl, token: str, peer: Peer | None = None) -> ServingError:
    with pytest.raises(ServingError) as caught:
        admit(access, token, peer)
    return caught.value


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_valid_tokens(access: AccessControl, kind: str) -> None:
    sign = issuer_keys().sign
    assert admit(access, sign(kind)) == "robot"
    assert admit(access, sign(kind, aud=["other", "convscope"])) == "robot"
    assert admit(access, sign(kind, seconds=-3)) == "robot"  # within the leeway
    assert admit(access, sign(kind, nbf=time.time() + 3)) == "robot"


def test_a_token_without_a_key_id_has_the_only_key(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(issuer_keys().jwks("ec"))
    token = issuer_keys().sign("ec", headers={})
    assert admit(control(tmp_path), token) == "robot"
    (tmp_path / "keys.json").write_text(issuer_keys().jwks())
    assert "the token's key is not one of" in failure(control(tmp_path), token).message


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def wrong_tokens() -> dict[str, tuple[str, str]]:
    """Tokens that are invalid, each with the reason."""
    keys, other = issuer_keys(), Keys()
    valid = keys.sign()
    head, body, signature = valid.split(".")
    pem = keys.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = {"iss": "https://issuer.example", "aud": "convscope", "sub": "robot", "exp": 1e10}
    # PyJWT itself doesn't sign with a public key as the secret.
    confused = (
        f"{segment({'alg': 'HS256', 'kid': 'rsa'})}.{segment(claims)}.{segment(pem.decode())}"
    )
    nested = base64.urlsafe_b64encode(b"[" * 3000).rstrip(b"=").decode()
    embedded = {"kid": "ec", "jwk": json.loads(other.jwks("ec"))["keys"][0]}
    return {
        "expired": (keys.sign(seconds=-6), "has expired"),
        "not yet valid": (keys.sign(nbf=time.time() + 60), "is not valid yet"),
        "of another issuer": (keys.sign(iss="https://evil.example"), "of another issuer"),
        "for another audience": (keys.sign(aud="other"), "for another audience"),
        "without an end": (keys.sign(exp=None), "lacks one of the claims"),
        "without a subject": (keys.sign(sub=None), "lacks one of the claims"),
        "without an audience": (keys.sign(aud=None), "lacks one of the claims"),
        "signed by others": (other.sign("ec"), "signature is wrong"),
        "signed by an embedded key": (other.sign("ec", headers=embedded), "signature is wrong"),
        "changed": (f"{head}.{segment(claims)}.{signature}", "signature is wrong"),
        "cut": (f"{head}.{body}.", "signature is wrong"),
        "unsigned": (f"{segment({'alg': 'none'})}.{segment(claims)}.", "neither RS256 nor ES256"),
        "with a shared secret": (confused, "neither RS256 nor ES256"),
        "of an unknown key": (keys.sign(headers={"kid": "new"}), "is not one of the issuer's keys"),
        "of the key of another algorithm": (
            keys.sign("rsa", headers={"kid": "ec"}),
            "is not valid",
        ),
        "without a key id": (keys.sign(headers={}), "is not one of the issuer's keys"),
        "with nested parts": (f"{nested}.{segment(claims)}.{signature}", "is not a JSON web token"),
        "with a huge end": (keys.sign(exp=10**400), "is not valid"),
        "with an end that is a text": (keys.sign(exp="now"), "is not valid"),
        "with a subject that is a number": (keys.sign(sub=3), "is not valid"),
        "no token": ("a.b.c", "is not a JSON web token"),
    }


WRONG = tuple(wrong_tokens())


@pytest.mark.parametrize("name", WRONG)
def test_invalid_tokens(access: AccessControl, name: str) -> None:
    token, reason = wrong_tokens()[name]
    for _ in range(2):  # the second time from the cache
        error = failure(access, token)
        assert type(error) is UnauthenticatedError
        assert reason in error.message
        assert token not in error.message


def test_a_valid_token_of_no_caller(access: AccessControl) -> None:
    error = failure(access, issuer_keys().sign(sub="somebody"))
    assert type(error) is PermissionDeniedError
    assert "has the token's subject 'somebody'; the server's operator can" in error.message


def test_a_token_that_expires_ends_its_stream(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(issuer_keys().jwks())
    access = control(tmp_path, JWT_TABLE + "leeway_seconds = 0\n")
    token = issuer_keys().sign(seconds=1.5)  # PyJWT compares whole seconds
    admission = access.admit(PATH, Credential(f"Bearer {token}"), Peer())
    assert admission.renew().caller is admission.caller
    time.sleep(2.5)
    with pytest.raises(UnauthenticatedError, match="the token has expired"):
        admission.renew()


def test_a_flood_of_invalid_tokens_checks_few_signatures(
    access: AccessControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    verify = TokenVerifier.verify

    def count(self: TokenVerifier, token: str) -> Any:
        checked.append(token)
        return verify(self, token)

    monkeypatch.setattr(TokenVerifier, "verify", count)
    valid = issuer_keys().sign()
    assert admit(access, valid) == "robot"
    head, body, signature = valid.split(".")
    flood = [f"{head}.{body}.{index:04}{signature[4:]}" for index in range(500)]
    errors = [failure(access, token) for token in flood]
    assert len(checked) < 50
    late = errors[-1]
    assert isinstance(late, CallerLimitError)
    assert late.retry_pushback_ms is not None
    assert admit(access, valid) == "robot"  # it is cached
    other = Peer("ipv4:192.0.2.2:4000")
    assert admit(access, issuer_keys().sign(), other) == "robot"  # from another address


def test_weak_and_damaged_keys(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    other_curve = {"kty": "EC", "crv": "P-384", "x": "AQ", "y": "AQ"}
    off_curve = {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}
    for text, message in (
        (None, "the file of keys can't be read: No such file or directory"),
        ("[]", 'the keys are not JSON with a list "keys"'),
        ('{"keys": []}', "none of the keys is an RSA key or a P-256 key for signatures"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}, 1]}', "none of the keys is an RSA key"),
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


class Issuer:
    """A server of keys."""

    def __init__(self) -> None:
        self.reply: str | None = None
        self.count = 0
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
                self.wfile.write(issuer.reply.encode())

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
    assert "token keys can't be loaded; the ones before stay in use" in events
