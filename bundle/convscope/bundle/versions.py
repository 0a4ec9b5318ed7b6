"""Lists a repository's versions with what is recorded about them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from convscope.bundle.aliases import read_aliases
from convscope.bundle.errors import InvalidValueError, RepositoryError
from convscope.bundle.repository import Repository
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Accuracy", "VersionSummary", "list_versions"]

_TOP1 = "top1_accuracy"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The fraction of a split's samples whose best class is right, 0 to 1."""

    value: float
    split: str


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """A version.

    Args:
        model: The model's name.
        version: The version.
        aliases: The aliases that name it.
        architecture: The network's name.
        top1: The accuracy on each split that was measured.
        size_bytes: The size of its files.
        feature_maps: Their names.
        heat: The shape of the heat that explains a class; empty without explanations.
        created_at: When the bundle was created, in UTC; None if that isn't recorded.
        problem: Why the rest is unknown; empty if it is known.
    """

    model: str
    version: int
    aliases: tuple[str, ...]
    architecture: str = ""
    top1: tuple[Accuracy, ...] = ()
    size_bytes: int = 0
    feature_maps: tuple[str, ...] = ()
    heat: tuple[int, ...] = ()
    created_at: datetime | None = None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        created = self.created_at.isoformat() if self.created_at else None
        return asdict(self) | {"created_at": created}


def list_versions(repository: Repository, model: str | None = None) -> Iterator[VersionSummary]:
    """List the versions of one model or of all: models by name, versions by number.

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
                manifest = repository.manifest(name, version)
            except (RepositoryError, InvalidValueError) as error:  # it hides no other version
                yield VersionSummary(name, version, named, problem=str(error))
            else:
                yield _summary(manifest, (name, version), named)


def _summary(
    manifest: pb.ModelManifest, key: tuple[str, int], aliases: tuple[str, ...]
) -> VersionSummary:
    provenance = manifest.provenance
    recorded = provenance.HasField("created_at")
    return VersionSummary(
        *key,
        aliases,
        architecture=provenance.architecture,
        top1=tuple(
            Accuracy(one.value, one.split) for one in provenance.metrics if one.name == _TOP1
        ),
        size_bytes=sum(file.size_bytes for file in manifest.files),
        feature_maps=tuple(spec.name for spec in manifest.feature_maps),
        heat=tuple(manifest.explanation.positions),
        created_at=provenance.created_at.ToDatetime(UTC) if recorded else None,
    )
