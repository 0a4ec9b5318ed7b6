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
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from convscope.bundle.suggestions import unknown
from convscope.server.frontend.access.credentials import HASH_PREFIX
from convscope.server.frontend.access.methods import GROUPS, HEALTH, RPCS, paths
from convscope.server.frontend.access.policy import CallerRules, JwtRules, Policy

__all__ = ["ANONYMOUS", "PolicyError", "read_policy"]

Table = Mapping[str, Any]

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


class PolicyError(ValueError):
    """The file is wrong; the message names the key, its value and the repair."""


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        PolicyError: It can't be read, or has an unknown key or a wrong value.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:  # neither UTF-8 nor TOML
        raise PolicyError(f"{path} is not TOML: {error}") from error
    try:
        return _policy(content, path.parent)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def _policy(content: Table, folder: Path) -> Policy:
    _check_keys(content, ("health", "callers", "jwt"), "")
    health = content.get("health", "open")
    if health not in ("open", "callers"):
        raise _wrong("health", health, '"open" or "callers"')
    jwt = _jwt(_table(content["jwt"], "jwt"), folder) if "jwt" in content else None
    table = _table(content.get("callers", {}), "callers")
    callers = [_caller(name, _table(value, f"callers.{name}")) for name, value in table.items()]
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
    _check_keys(table, _CALLER_KEYS, where)
    if not any(table.get(key) for key in ("tokens", "subjects", "certificates")):
        raise PolicyError(
            f"{where} has no credentials; add tokens (convscope-server token makes one), subjects "
            "or certificates"
        )
    rpcs = _texts(table, "rpcs", where, DEFAULT_RPCS)
    for index, rpc in enumerate(rpcs):
        if rpc not in GROUPS and rpc not in RPCS:
            known = (*GROUPS, *RPCS)
            raise PolicyError(f"{where}.rpcs[{index}]: {unknown('RPC or group', rpc, known)}")
    return CallerRules(
        name=name,
        tokens=_matching(table, "tokens", where, _token),
        subjects=_texts(table, "subjects", where),
        certificates=_matching(table, "certificates", where, _certificate),
        models=_matching(table, "models", where, _model, ("*",)),
        paths=paths(rpcs) | HEALTH,
        images_per_second=_number(table, "images_per_second", where),
        bytes_per_second=_number(table, "bytes_per_second", where),
        burst_seconds=_number(table, "burst_seconds", where) or 1.0,
        concurrent_bytes=_whole(table, "concurrent_bytes", where),
    )


def _jwt(table: Table, folder: Path) -> JwtRules:
    _check_keys(table, _JWT_KEYS, "jwt")
    for key in ("issuer", "audience", "jwks"):
        if key not in table:
            raise PolicyError(f"jwt.{key} is missing; a JSON web token is valid only for one")
    audience = table["audience"]
    if isinstance(audience, str):
        table = {**table, "audience": [audience]}
    values = {key: _text(table, key) for key in ("issuer", "jwks", "claim") if key in table}
    leeway, refresh = (
        _number(table, key, "jwt", at_least) if key in table else None
        for key, at_least in (("leeway_seconds", 0.0), ("refresh_seconds", MIN_REFRESH_SECONDS))
    )
    if leeway is not None and leeway > MAX_LEEWAY_SECONDS:
        raise _wrong("jwt.leeway_seconds", leeway, f"at most {MAX_LEEWAY_SECONDS:g}")
    return JwtRules(
        issuer=values["issuer"],
        audience=_texts(table, "audience", "jwt"),
        jwks=_jwks(values["jwks"], folder),
        claim=values.get("claim", "sub"),
        leeway_seconds=30.0 if leeway is None else leeway,
        refresh_seconds=300.0 if refresh is None else refresh,
    )


def _jwks(text: str, folder: Path) -> str:
    if "://" not in text:
        return str(folder / text)
    url = urlsplit(text)
    is_local = url.hostname in ("localhost", "127.0.0.1", "::1")
    if not url.hostname or not (url.scheme == "https" or (url.scheme == "http" and is_local)):
        raise _wrong("jwt.jwks", text, "a file, or a URL with https://")
    return text


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
        raise _wrong(where, text, "a name such as URI:spiffe://a/b, DNS:host.example or CN:name")
    return text


def _model(text: str, where: str) -> str:
    if _MODEL.fullmatch(text) is None:
        raise _wrong(where, text, 'the name of a model, or a pattern such as "team-*"')
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
    texts = _texts(table, key, where, default)
    return [read(text, f"{where}.{key}[{index}]") for index, text in enumerate(texts)]


def _texts(table: Table, key: str, where: str, default: Sequence[str] = ()) -> Sequence[str]:
    value = table.get(key, default)
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v for v in value):
        shown = "of another type" if key == "tokens" else repr(value)
        raise PolicyError(f"{where}.{key} is {shown}, and must be a list of texts")
    return tuple(value)


def _text(table: Table, key: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value:
        raise _wrong(f"jwt.{key}", value, "a text")
    return value


def _number(table: Table, key: str, where: str, at_least: float | None = None) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (value > 0 if at_least is None else value >= at_least):
        limit = "more than 0" if at_least is None else f"{at_least:g} or more"
        raise _wrong(f"{where}.{key}", value, f"a number, {limit}")
    if value == float("inf"):
        raise _wrong(f"{where}.{key}", value, "finite; leave it out for no limit")
    return float(value)


def _whole(table: Table, key: str, where: str) -> int | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong(f"{where}.{key}", value, "a whole number, 1 or more")
    return value


def _table(value: Any, where: str) -> Table:
    if not isinstance(value, dict):
        raise PolicyError(f"{where} must be a table, written [{where}]")
    return value


def _check_keys(table: Table, known: Collection[str], where: str) -> None:
    for name in table:
        if name not in known:
            place = f"{where}.{name}" if where else name
            raise PolicyError(f"{place}: {unknown('key', name, known)}")


def _wrong(where: str, value: Any, expected: str) -> PolicyError:
    return PolicyError(f"{where} is {value!r}, and must be {expected}")
