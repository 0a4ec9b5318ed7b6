"""Settings of the repository: its location, and which versions the server loads."""

from dataclasses import dataclass
from pathlib import Path

from convscope.server.repository.selection import Selection, parse_versions

__all__ = ["ON_DEMAND", "RepositorySettings"]

MIB = 2**20
ON_DEMAND = "on-demand"


@dataclass(frozen=True, kw_only=True)
class RepositorySettings:
    """Where the models are, and which of their versions are loaded.

    Args:
        models: The repository, a directory or a URL.
        load: The models to load: "all", "on-demand", or names separated by commas.
        versions: The number of latest versions, or a list such as "=3,5".
        max_memory_mb: The limit of versions that are loaded on demand; None for none.
        poll_seconds: The interval between two looks for changes; 0 for none.
        repository_cache: The directory of the local copies of remote repositories.
    """

    models: str
    load: str = "all"
    versions: str = "1"
    max_memory_mb: int | None = None
    poll_seconds: float = 5.0
    repository_cache: Path = Path("~/.cache/convscope/repositories")

    @property
    def selection(self) -> Selection:
        """The versions to load."""
        latest, versions = parse_versions(self.versions)
        names = frozenset(name.strip() for name in self.load.split(","))
        by_rule = self.load in ("all", ON_DEMAND)
        return Selection(None if by_rule else names, latest, versions, self.load == ON_DEMAND)

    @property
    def max_memory_bytes(self) -> int | None:
        """The limit of versions that are loaded on demand."""
        return None if self.max_memory_mb is None else self.max_memory_mb * MIB
