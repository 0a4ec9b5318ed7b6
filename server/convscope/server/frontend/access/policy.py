"""The content of a policy file."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CallerRules", "JwtRules", "Policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtRules:
    """Which JSON web tokens are valid.

    Args:
        issuer: The claim `iss`.
        audience: The accepted values of the claim `aud`.
        jwks: A file or an https URL with the issuer's keys.
        claim: The claim with the subject that callers are assigned to.
        leeway_seconds: By how much the issuer's clock may differ.
        refresh_seconds: How often a URL is fetched.
    """

    issuer: str
    audience: Sequence[str]
    jwks: str
    claim: str = "sub"
    leeway_seconds: float = 30.0
    refresh_seconds: float = 300.0

    @property
    def is_remote(self) -> bool:
        """Whether the keys are fetched from a URL."""
        return "://" in self.jwks


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerRules:
    """One caller: its credentials, its rights and its rates.

    Args:
        name: Its name.
        tokens: SHA-256 hashes of its static tokens.
        subjects: The subjects of its JSON web tokens.
        certificates: The names of its client certificates: URI:…, DNS:… or CN:….
        models: The names of models that it may use, or patterns with *.
        paths: The paths of the RPCs that it may call.
        images_per_second: Images of its requests; None for no limit.
        bytes_per_second: Bytes of its requests; None for no limit.
        burst_seconds: For how many seconds unused amounts of both rates add up.
        concurrent_bytes: Bytes of its requests that are not answered yet; None for no limit.
    """

    name: str
    tokens: Sequence[bytes] = ()
    subjects: Sequence[str] = ()
    certificates: Sequence[str] = ()
    models: Sequence[str] = ("*",)
    paths: frozenset[str] = frozenset()
    images_per_second: float | None = None
    bytes_per_second: float | None = None
    burst_seconds: float = 1.0
    concurrent_bytes: int | None = None

    @property
    def has_limits(self) -> bool:
        """Whether it has a rate or a limit of concurrent bytes."""
        limits = (self.images_per_second, self.bytes_per_second, self.concurrent_bytes)
        return any(limit is not None for limit in limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All rules of a policy file.

    Args:
        health_is_open: Whether health is reported to everyone.
        jwt: Which JSON web tokens are valid; None for none.
        callers: Who may call.
    """

    health_is_open: bool = True
    jwt: JwtRules | None = None
    callers: Sequence[CallerRules] = ()

    @property
    def uses_certificates(self) -> bool:
        """Whether a caller is identified by a client certificate."""
        return any(caller.certificates for caller in self.callers)
