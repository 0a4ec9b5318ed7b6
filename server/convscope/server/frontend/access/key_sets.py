"""The public keys of an issuer of JSON web tokens (JWKS, RFC 7517)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Key", "KeySet", "KeySetError", "parse_keys"]

MIN_RSA_BITS = 2048
MAX_KEYS = 64
# Only the public part of a key is read.
_PUBLIC = ("kty", "kid", "use", "alg", "n", "e", "crv", "x", "y")


class KeySetError(ValueError):
    """The keys can't be used; the message has the reason."""


@dataclass(frozen=True, slots=True)
class Key:
    """One public key.

    Args:
        algorithm: The one algorithm that it verifies: RS256 or ES256.
        key: The key, as `cryptography` has it.
    """

    algorithm: str
    key: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """All usable keys, by their id; a key without an id has an empty one."""

    keys: Mapping[str, Key]

    def find(self, kid: str) -> Key | None:
        """Return the key of a token; one without an id has the only key, if it is the only one."""
        if not kid and len(self.keys) == 1:
            return next(iter(self.keys.values()))
        return self.keys.get(kid)


def parse_keys(text: str | bytes) -> KeySet:
    """Read a key set; keys of other types and purposes are left out.

    Raises:
        KeySetError: It is no key set, or none of its keys can be used.
    """
    try:
        entries = json.loads(text)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise KeySetError('the keys are not JSON with a list "keys"') from None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise KeySetError(f'"keys" must be a list of at most {MAX_KEYS} keys')
    keys: dict[str, Key] = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        key = _key(entry, index)
        if key is not None:
            keys.setdefault(str(entry.get("kid", "")), key)
    if not keys:
        raise KeySetError("none of the keys is an RSA key or a P-256 key for signatures")
    return KeySet(keys)


def _key(entry: Mapping[str, Any], index: int) -> Key | None:
    import jwt

    kinds = ((("RSA", None), "RS256"), (("EC", "P-256"), "ES256"))
    kind = (entry.get("kty"), entry.get("crv"))  # of any type
    algorithm = next((algorithm for known, algorithm in kinds if known == kind), None)
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        return None
    public = {name: entry[name] for name in _PUBLIC if name in entry}
    try:
        key = jwt.PyJWK(public, algorithm).key
    except Exception:  # noqa: BLE001 - the libraries have many errors for foreign data
        raise KeySetError(f"keys[{index}] is damaged") from None
    if algorithm == "RS256" and key.key_size < MIN_RSA_BITS:
        raise KeySetError(f"keys[{index}] has {key.key_size} bits; an RSA key needs {MIN_RSA_BITS}")
    return Key(algorithm, key)
