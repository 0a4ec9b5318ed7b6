"""The policy file: who may call what, and how much.

    health = "open"                   # or "callers": health is reported to callers only

    [callers.web]
    tokens = ["sha256:…"]             # made by: convscope-server token
    models = ["digits", "team-*"]     # all by default
    rpcs = ["inference", "metadata"]  # groups or names of RPCs; these two by default
    images_per_second = 100           # no limits by default
    bytes_per_second = 10_000_000
    burst_seconds = 2.0
    concurrent_bytes = 64_000_000

    [callers.ops]
    certificates = ["URI:spiffe://example/ops"]
    rpcs = ["admin", "metadata"]

    [callers.robot]
    subjects = ["robot@example"]

    [jwt]
    issuer = "https://idp.example"
    audience = "convscope"
    jwks = "keys.json"                # or an https URL

An unknown key is an error: a right that is misspelled must not be missing silently.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from convscope.bundle.errors import InvalidValueError
from convscope.bundle.suggestions import unknown
from convscope.bundle.toml_files import read_toml
from convscope.server.frontend.access.credentials import HASH_PREFIX
from convscope.server.frontend.access.methods import GROUPS, HEALTH, RPCS, paths
from convscope.server.frontend.access.policy import CallerRules, JwtRules, Policy
from convscope.server.frontend.access.policy_values import (
    PolicyError,
    Table,
    as_table,
    check_keys,
    read_number,
    read_text,
    read_texts,
    read_whole,
    wrong_value,
)

__all__ = ["ANONYMOUS", "read_policy"]

# The name under which calls without credentials are logged.
ANONYMOUS = "anonymous"
DEFAULT_RPCS = ("inference", "metadata")
MAX_LEEWAY_SECONDS = 300.0
MIN_REFRESH_SECONDS = 10.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_HASH = re.compile(re.escape(HASH_PREFIX) + r"([0-9a-f]{64})")
_MODEL = re.compile(r"[a-z0-9*?_\[\]!-]{1,63}")
_CERTIFICATE = re.compile(r"(URI|DNS|CN):.+")
_CALLER_KEYS = (
    *("tokens", "subjects", "certificates", "models", "rpcs"),
    *("images_per_second", "bytes_per_second", "burst_seconds", "concurrent_bytes"),
)
_JWT_KEYS = ("issuer", "audience", "jwks", "claim", "leeway_seconds", "refresh_seconds")


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        PolicyError: It can't be read, or has an unknown key or a wrong value.
    """
    try:
        content = read_toml(path)
    except InvalidValueError as error:
        raise PolicyError(str(error)) from error
    try:
        return _policy(content, path.parent)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def _policy(content: Table, folder: Path) -> Policy:
    check_keys(content, ("health", "callers", "jwt"), "")
    health = content.get("health", "open")
    if health not in ("open", "callers"):
        raise wrong_value("health", health, '"open" or "callers"')
    jwt = _jwt(as_table(content["jwt"], "jwt"), folder) if "jwt" in content else None
    table = as_table(content.get("callers", {}), "callers")
    callers = [_caller(name, as_table(value, f"callers.{name}")) for name, value in table.items()]
    _check_unique(callers)
    for caller in callers:
        if caller.subjects and jwt is None:
            raise PolicyError(
                f"callers.{caller.name}.subjects needs the table [jwt] with issuer, audience and "
                "jwks"
            )
    return Policy(health_is_open=health == "open", jwt=jwt, callers=callers)


def _caller(name: str, table: Table) -> CallerRules:
    where = f"callers.{name}"
    if not _NAME.fullmatch(name) or name == ANONYMOUS:
        raise PolicyError(
            f"{where}: {name!r} can't be a caller's name; a name has up to 63 of A-Z, a-z, 0-9 and "
            f"._@-, and is not {ANONYMOUS!r}"
        )
    check_keys(table, _CALLER_KEYS, where)
    if not any(table.get(key) for key in ("tokens", "subjects", "certificates")):
        raise PolicyError(
            f"{where} has no credentials; add tokens (convscope-server token makes one), subjects "
            "or certificates"
        )
    rpcs = read_texts(table, "rpcs", where, DEFAULT_RPCS)
    for index, rpc in enumerate(rpcs):
        if rpc not in GROUPS and rpc not in RPCS:
            known = (*GROUPS, *RPCS)
            raise PolicyError(f"{where}.rpcs[{index}]: {unknown('RPC or group', rpc, known)}")
    return CallerRules(
        name=name,
        tokens=_matching(table, "tokens", where, _token),
        subjects=read_texts(table, "subjects", where),
        certificates=_matching(table, "certificates", where, _certificate),
        models=_matching(table, "models", where, _model, ("*",)),
        paths=paths(rpcs) | HEALTH,
        images_per_second=read_number(table, "images_per_second", where),
        bytes_per_second=read_number(table, "bytes_per_second", where),
        burst_seconds=read_number(table, "burst_seconds", where) or 1.0,
        concurrent_bytes=read_whole(table, "concurrent_bytes", where),
    )


def _jwt(table: Table, folder: Path) -> JwtRules:
    check_keys(table, _JWT_KEYS, "jwt")
    for key in ("issuer", "audience", "jwks"):
        if key not in table:
            raise PolicyError(f"jwt.{key} is missing; a JSON web token is valid only for one")
    audience = table["audience"]
    if isinstance(audience, str):
        table = {**table, "audience": [audience]}
    values = {key: read_text(table, key) for key in ("issuer", "jwks", "claim") if key in table}
    leeway, refresh = (
        read_number(table, key, "jwt", at_least) if key in table else None
        for key, at_least in (("leeway_seconds", 0.0), ("refresh_seconds", MIN_REFRESH_SECONDS))
    )
    if leeway is not None and leeway > MAX_LEEWAY_SECONDS:
        raise wrong_value("jwt.leeway_seconds", leeway, f"at most {MAX_LEEWAY_SECONDS:g}")
    return JwtRules(
        issuer=values["issuer"],
        audience=read_texts(table, "audience", "jwt"),
        jwks=_jwks(values["jwks"], folder),
        claim=values.get("claim", "sub"),
        leeway_seconds=30.0 if leeway is None else leeway,
        refresh_seconds=300.0 if refresh is None else refresh,
    )


def _jwks(text: str, folder: Path) -> str:
    if "://" not in text:
        return str(folder / text)
    if "@" in text:  # the URL is logged
        raise PolicyError(
            "jwt.jwks has a name or a password in its URL; an issuer's keys are public, so give "
            "a URL without them"
        )
    if not _is_trusted(text):
        raise wrong_value("jwt.jwks", text, "a file, or a URL with https://")
    return text


def _is_trusted(text: str) -> bool:
    """Return whether nobody on the way can replace what a URL returns."""
    try:
        url = urlsplit(text)
    except ValueError:  # a host that begins as an IPv6 address
        return False
    is_local = url.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(url.hostname) and (url.scheme == "https" or (url.scheme == "http" and is_local))


def _token(text: str, where: str) -> bytes:
    found = _HASH.fullmatch(text)
    if found is None:  # it may be a token, which must not get into the message
        raise PolicyError(
            f"{where} is not a hash, written {HASH_PREFIX} and 64 digits; make a token and its "
            "hash with: convscope-server token"
        )
    return bytes.fromhex(found[1])


def _certificate(text: str, where: str) -> str:
    if _CERTIFICATE.fullmatch(text) is None:
        expected = "a name such as URI:spiffe://a/b, DNS:host.example or CN:name"
        raise wrong_value(where, text, expected)
    return text


def _model(text: str, where: str) -> str:
    if _MODEL.fullmatch(text) is None:
        raise wrong_value(where, text, 'the name of a model, or a pattern such as "team-*"')
    return text


def _check_unique(callers: Sequence[CallerRules]) -> None:
    for kind in ("tokens", "subjects", "certificates"):
        owners: dict[Any, str] = {}
        for caller in callers:
            for value in getattr(caller, kind):
                other = owners.setdefault(value, caller.name)
                if other != caller.name:
                    raise PolicyError(
                        f"callers.{caller.name}.{kind} and callers.{other}.{kind} share an entry; "
                        "each of them identifies one caller"
                    )


def _matching(
    table: Table,
    key: str,
    where: str,
    read: Callable[[str, str], Any],
    default: Sequence[Any] = (),
) -> Sequence[Any]:
    texts = read_texts(table, key, where, default)
    return [read(text, f"{where}.{key}[{index}]") for index, text in enumerate(texts)]
