"""What a repository holds, version by version."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from convscope.exporter.repositories.aliases import read_aliases
from convscope.exporter.repositories.repository import Repository, RepositoryError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Accuracy", "Row", "list_versions"]

_TOP1 = "top1_accuracy"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The part of a split's samples whose best class is right, 0 to 1."""

    value: float
    split: str


@dataclass(frozen=True, slots=True)
class Row:
    """A version.

    Args:
        model: The model's name.
        version: The version.
        aliases: The aliases that name it.
        architecture: The network's name.
        top1: What was measured, on each split.
        size_bytes: The size of its files.
        feature_maps: Their names.
        created_at: When the bundle was made, in UTC; None if that isn't recorded.
        problem: Why the rest can't be said; empty if it can.
    """

    model: str
    version: int
    aliases: tuple[str, ...]
    architecture: str = ""
    top1: tuple[Accuracy, ...] = ()
    size_bytes: int = 0
    feature_maps: tuple[str, ...] = ()
    created_at: datetime | None = None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        created = self.created_at.isoformat() if self.created_at else None
        return asdict(self) | {"created_at": created}


def list_versions(repository: Repository, model: str | None = None) -> Iterator[Row]:
    """List the versions of one model, or of all.

    Raises:
        UnknownNameError: There is no such model.
        RepositoryError: The repository or a model's aliases can't be read.
    """
    if model is not None:
        repository.require_model(model)
    for name in repository.models() if model is None else [model]:
        aliases = read_aliases(repository, name)
        for version in repository.versions(name):
            named = tuple(sorted(alias for alias, number in aliases.items() if number == version))
            try:
                yield _row(repository.manifest(name, version), (name, version), named)
            except RepositoryError as error:  # one that is damaged hides no others
                yield Row(name, version, named, problem=str(error))


def _row(manifest: pb.ModelManifest, key: tuple[str, int], aliases: tuple[str, ...]) -> Row:
    provenance = manifest.provenance
    recorded = provenance.HasField("created_at")
    return Row(
        *key,
        aliases,
        architecture=provenance.architecture,
        top1=tuple(
            Accuracy(one.value, one.split) for one in provenance.metrics if one.name == _TOP1
        ),
        size_bytes=sum(file.size_bytes for file in manifest.files),
        feature_maps=tuple(spec.name for spec in manifest.feature_maps),
        created_at=provenance.created_at.ToDatetime(UTC) if recorded else None,
    )
