"""Settings of the repository: its location, and which versions the server loads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope.bundle.signatures import TrustedSigners
from convscope.server.repository.selection import Selection, parse_versions

__all__ = ["ON_DEMAND", "RepositorySettings"]

MIB = 2**20
ON_DEMAND = "on-demand"


@dataclass(frozen=True, kw_only=True)
class RepositorySettings:
    """Where the models are, and which of their versions are loaded.

    Args:
        models: The repository, a directory or a URL; or the directory of one model or version.
        load: The models to load: "all", "on-demand", or names separated by commas.
        versions: The number of latest versions, or a list such as "=3,5".
        max_memory_mb: The limit of versions that are loaded on demand; None for none.
        poll_seconds: The interval between two looks for changes; 0 for none.
        repository_cache: The directory of the local copies of remote repositories.
        require_signature: Whether only signed versions are loaded.
        signature_key: The public keys that may sign, a PEM file or a directory of them.
        signature_authority: The authorities of certificates that may sign, a PEM file.
        signature_identity: The identity of a Sigstore signer.
        signature_issuer: The OpenID Connect issuer of that identity.
        signature_trust_config: Sigstore's trust configuration; None for the public instance.
        overrides: What operators changed before this worker started, by model; no flag sets it.
    """

    models: str
    load: str = "all"
    versions: str = "1"
    max_memory_mb: int | None = None
    poll_seconds: float = 5.0
    repository_cache: Path = Path("~/.cache/convscope/repositories")
    require_signature: bool = False
    signature_key: Path | None = None
    signature_authority: Path | None = None
    signature_identity: str | None = None
    signature_issuer: str | None = None
    signature_trust_config: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def selection(self) -> Selection:
        """The versions to load."""
        latest, versions = parse_versions(self.versions)
        names = frozenset(name.strip() for name in self.load.split(","))
        by_rule = self.load in ("all", ON_DEMAND)
        return Selection(None if by_rule else names, latest, versions, self.load == ON_DEMAND)

    @property
    def trusted_signers(self) -> TrustedSigners | None:
        """Who may sign versions; None if unsigned ones are loaded too."""
        if not self.require_signature:
            return None
        return TrustedSigners(
            self.signature_key,
            self.signature_authority,
            self.signature_identity,
            self.signature_issuer,
            self.signature_trust_config,
        )

    @property
    def max_memory_bytes(self) -> int | None:
        """The limit of versions that are loaded on demand."""
        return None if self.max_memory_mb is None else self.max_memory_mb * MIB
