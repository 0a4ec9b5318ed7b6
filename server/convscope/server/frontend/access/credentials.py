"""Static tokens, and what a call sends to identify its caller."""

import secrets
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Protocol

__all__ = [
    "HASH_PREFIX",
    "TOKEN_PREFIX",
    "Credential",
    "Peer",
    "hash_token",
    "identities",
    "make_token",
]

# Scanners for secrets recognize a token by its prefix.
TOKEN_PREFIX = "cvs_"
HASH_PREFIX = "sha256:"
TOKEN_BYTES = 32
MAX_TOKEN_LENGTH = 8192


def make_token() -> str:
    """Return a new random token."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> str:
    """Return what the policy file contains of a token.

    A token is random and long, so that a plain hash can't be reversed.
    """
    return HASH_PREFIX + sha256(token.encode()).hexdigest()


class Peer(Protocol):
    """The other end of a connection."""

    @property
    def peer(self) -> str:
        """Its address, as gRPC writes it."""

    @property
    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS has verified of it, by gRPC's names."""


class Credential:
    """The value of a call's metadata `authorization`.

    A call with several values has none of them: a proxy in front of the server could have
    checked another one.

    Args:
        values: The values, one or more.
    """

    def __init__(self, *values: str) -> None:
        self.is_ambiguous = len(values) > 1
        scheme, _, token = ("" if self.is_ambiguous else values[0]).partition(" ")
        token = token.strip()
        is_bearer = scheme.lower() == "bearer" and 0 < len(token) <= MAX_TOKEN_LENGTH
        self.token = token if is_bearer and token.isascii() else ""

    def __repr__(self) -> str:
        return "Credential(...)"  # a token never gets into a log or a traceback

    @cached_property
    def digest(self) -> bytes:
        """The hash of the token, by which it is cached and compared."""
        return sha256(self.token.encode()).digest()


def identities(peer: Peer | None) -> list[str]:
    """Return the names in a verified client certificate, in the form of the policy."""
    known = {} if peer is None else peer.auth_context
    kinds = (("URI", "peer_uri"), ("DNS", "peer_dns"), ("CN", "x509_common_name"))
    return [
        f"{kind}:{name.decode(errors='replace')}"
        for kind, key in kinds
        for name in known.get(key, ())
    ]
