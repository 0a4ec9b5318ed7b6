"""JSON web tokens: which ones are valid, and floods of invalid ones."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.access import CLASSIFY, JWT_TABLE, Keys, Peer, admit, control, failure, issuer_keys

from convscope.server.errors import CallerLimitError, PermissionDeniedError, UnauthenticatedError
from convscope.server.frontend.access.control import AccessControl
from convscope.server.frontend.access.credentials import Credential
from convscope.server.frontend.access.json_web_tokens import TokenVerifier


@pytest.fixture
def access(tmp_path: Path) -> AccessControl:
    (tmp_path / "keys.json").write_text(issuer_keys().jwks())
    return control(tmp_path, JWT_TABLE + "leeway_seconds = 5\n")


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


def test_a_valid_token_of_no_caller_is_checked_once(
    access: AccessControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer_keys().sign(sub="somebody")
    failure(access, token)
    monkeypatch.delattr(TokenVerifier, "verify")
    assert type(failure(access, token)) is PermissionDeniedError


def test_a_token_that_expires_ends_its_stream(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(issuer_keys().jwks())
    access = control(tmp_path, JWT_TABLE + "leeway_seconds = 0\n")
    token = issuer_keys().sign(seconds=1.5)  # PyJWT compares whole seconds
    admission = access.admit(CLASSIFY, Credential(f"Bearer {token}"), Peer())
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
