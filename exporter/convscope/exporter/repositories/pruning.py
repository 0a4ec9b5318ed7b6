"""Removes a model's earlier versions."""

from dataclasses import dataclass

from convscope.exporter.repositories.aliases import read_aliases
from convscope.exporter.repositories.repository import Repository
from convscope.exporter.repositories.trials import tried_versions

__all__ = ["Pruned", "prune"]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a pruning did, or would do.

    Args:
        removed: The size in bytes of each version that went.
        kept: The aliases and trials of each version that stayed.
    """

    removed: dict[int, int]
    kept: dict[int, tuple[str, ...]]

    @property
    def freed_bytes(self) -> int:
        """The size of all that went."""
        return sum(self.removed.values())


def prune(repository: Repository, model: str, keep: int, *, dry_run: bool = False) -> Pruned:
    """Remove all versions of a model but the latest, and those that an alias or a trial names.

    Args:
        repository: Where they lie.
        model: The model's name.
        keep: How many of the latest stay; at least one version always does.
        dry_run: Whether to remove nothing, and only say what would be.

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
    for version, kinds in tried_versions(repository, model).items():
        named[version] = (*named.get(version, ()), *kinds)
    latest = versions[len(versions) - min(keep, len(versions)) :]
    staying = {*latest, *named}.intersection(versions) or {versions[-1]}
    return Pruned(
        removed={v: _size(repository, model, v) for v in versions if v not in staying},
        kept={version: named.get(version, ()) for version in sorted(staying)},
    )


def _size(repository: Repository, model: str, version: int) -> int:
    folder = (model, str(version))
    return sum(repository.size(*folder, name) or 0 for name in repository.names(*folder))
