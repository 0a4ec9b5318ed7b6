"""Policies, tokens and keys for the tests of access control."""

import json
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from convscope.server.errors import ServingError
from convscope.server.frontend.access.control import AccessControl
from convscope.server.frontend.access.credentials import Credential, hash_token, make_token

Metadata = tuple[tuple[str, str | bytes], ...]
ISSUER, AUDIENCE = "https://issuer.example", "convscope"
JWT_TABLE = f'[jwt]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\njwks = "keys.json"\n'


class Keys:
    """The keys of an issuer."""

    def __init__(self) -> None:
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self, *kinds: str) -> str:
        """The public keys, all by default."""
        public: dict[str, Any] = {
            "ec": json.loads(ECAlgorithm.to_jwk(self.ec.public_key())),
            "rsa": json.loads(RSAAlgorithm.to_jwk(self.rsa.public_key())),
        }
        return json.dumps({"keys": [{**public[k], "kid": k} for k in kinds or ("ec", "rsa")]})

    def sign(
        self, kind: str = "ec", *, headers: Any = None, seconds: float = 600, **claims: Any
    ) -> str:
        """Sign a token; a claim that is None is left out."""
        key, algorithm = (self.ec, "ES256") if kind == "ec" else (self.rsa, "RS256")
        full = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "robot",
            "exp": time.time() + seconds,
            **claims,
        }
        return jwt.encode(
            {name: value for name, value in full.items() if value is not None},
            key,
            algorithm,
            headers={"kid": kind} if headers is None else headers,
        )


@cache
def issuer_keys() -> Keys:
    """The keys that all tests share; an RSA key takes a while."""
    return Keys()


def bearer(token: str) -> Metadata:
    """The metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)


class PolicyFile:
    """A policy file whose callers have static tokens.

    Args:
        folder: Where it is.
        callers: The further lines of each caller's table, by its name.
        more: Further text of the file.
    """

    def __init__(self, folder: Path, callers: Mapping[str, str], more: str = "") -> None:
        self.path = folder / "policy.toml"
        self.tokens: dict[str, str] = {}
        self.write(callers, more)

    def write(self, callers: Mapping[str, str], more: str = "") -> None:
        """Replace the file; a caller keeps its token."""
        text = more if more.lstrip().startswith("health") else ""
        for name, lines in callers.items():
            token = self.tokens.setdefault(name, make_token())
            text += f'[callers.{name}]\ntokens = ["{hash_token(token)}"]\n{lines}\n'
        text += "" if more.lstrip().startswith("health") else more
        self.replace(text)

    def replace(self, text: str) -> None:
        """Replace the file at once, as an operator should."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.rename(self.path)

    def metadata(self, caller: str) -> Metadata:
        """The metadata of a call by a caller."""
        return bearer(self.tokens[caller])


ROBOT = '[callers.robot]\nsubjects = ["robot"]\n'
CLASSIFY = "/convscope.v1.ClassifierService/Classify"


class Peer:
    """The other end of a connection without TLS."""

    def __init__(self, peer: str = "ipv4:192.0.2.1:4000") -> None:
        self.peer = peer
        self.auth_context: dict[str, list[bytes]] = {}


def control(folder: Path, table: str = JWT_TABLE, **options: Any) -> AccessControl:
    """Return the access control of a policy that names the subject of one caller."""
    (folder / "policy.toml").write_text(ROBOT + table)
    return AccessControl(folder / "policy.toml", **options)


def admit(access: AccessControl, token: str, peer: Peer | None = None) -> str:
    """Return the name of the caller with a JSON web token."""
    return access.admit(CLASSIFY, Credential(f"Bearer {token}"), peer or Peer()).caller.name


def failure(access: AccessControl, token: str, peer: Peer | None = None) -> ServingError:
    """Return the error of a call with a JSON web token."""
    with pytest.raises(ServingError) as caught:
        admit(access, token, peer)
    return caught.value
