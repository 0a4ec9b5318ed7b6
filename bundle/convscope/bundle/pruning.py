"""Removes a model's earlier versions."""

from dataclasses import dataclass

from convscope.bundle.aliases import read_aliases
from convscope.bundle.repository import Repository
from convscope.bundle.traffic import read_traffic

__all__ = ["Pruned", "prune"]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed and kept, or would be.

    Args:
        removed: The size in bytes of each version that was removed.
        kept: The aliases and traffic splits of each version that was kept.
    """

    removed: dict[int, int]
    kept: dict[int, tuple[str, ...]]

    @property
    def freed_bytes(self) -> int:
        """The size of everything that was removed."""
        return sum(self.removed.values())


def prune(repository: Repository, model: str, keep: int, *, dry_run: bool = False) -> Pruned:
    """Remove all versions but the latest, and those that an alias or traffic split names.

    Args:
        repository: Where to.
        model: The model's name.
        keep: How many of the latest are kept; at least one version always is.
        dry_run: Whether to remove nothing, and only report.

    Raises:
        UnknownNameError: There is no such model.
        RepositoryError: The aliases can't be read, or a version can't be removed.
    """
    repository.require_model(model)
    if dry_run:
        return _plan(repository, model, keep)
    with repository.lock(model):
        plan = _plan(repository, model, keep)
        for version in plan.removed:
            repository.remove(model, version)
    return plan


def _plan(repository: Repository, model: str, keep: int) -> Pruned:
    versions = repository.require_model(model)
    named: dict[int, tuple[str, ...]] = {}
    for alias, version in sorted(read_aliases(repository, model).items()):
        named[version] = (*named.get(version, ()), alias)
    for kind, split in read_traffic(repository, model):
        if isinstance(split.to, int):
            named[split.to] = (*named.get(split.to, ()), kind)
    latest = versions[len(versions) - min(keep, len(versions)) :]
    kept = {*latest, *named}.intersection(versions) or {versions[-1]}
    return Pruned(
        removed={v: _size(repository, model, v) for v in versions if v not in kept},
        kept={version: named.get(version, ()) for version in sorted(kept)},
    )


def _size(repository: Repository, model: str, version: int) -> int:
    folder = (model, str(version))
    return sum(repository.size(*folder, name) or 0 for name in repository.names(*folder))
