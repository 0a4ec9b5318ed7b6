"""Finds what a user names: a repository, or a bundle in one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convscope.exporter.bundles.writer import GOLDEN, GRAPH, MANIFEST, MODEL_NAME
from convscope.exporter.repositories.local import LocalRepository
from convscope.exporter.repositories.repository import Repository, RepositoryError, is_version

__all__ = ["BundlePlace", "existing_repository", "find_bundle", "open_repository"]

_FILE_SCHEMES = ("file://", "local://")


@dataclass(frozen=True, slots=True)
class BundlePlace:
    """A version of a model in a repository.

    Args:
        repository: The repository.
        model: The model's name.
        version: The version.
        directory: Where it lies on a disk; None if it doesn't.
    """

    repository: Repository
    model: str
    version: int
    directory: Path | None

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Give the bundle's directory, downloaded for the time if need be."""
        if self.directory is not None:
            yield self.directory
            return
        self.repository.require_version(self.model, self.version)
        with tempfile.TemporaryDirectory(prefix="convscope-") as temporary:
            directory = Path(temporary) / self.model / str(self.version)
            directory.mkdir(parents=True)
            for name in (MANIFEST, GRAPH, GOLDEN):
                self.repository.fetch(self.model, self.version, name, directory)
            yield directory


def open_repository(location: str) -> Repository:
    """Open the repository at a path or a URL; it need not be there yet.

    Raises:
        RepositoryError: No file system is known for the URL, or its package isn't installed.
    """
    if (path := _local_path(location)) is not None:
        return LocalRepository(path, location)
    from convscope.exporter.repositories.remote import RemoteRepository

    return RemoteRepository(location)


def existing_repository(location: str) -> Repository:
    """Open a repository that must hold a model.

    Raises:
        RepositoryError: It doesn't, or can't be opened.
    """
    repository = open_repository(location)
    if not repository.names():
        raise RepositoryError(
            f"{location} is no repository of bundles; name the directory or URL that holds "
            "MODEL/VERSION"
        )
    return repository


def find_bundle(location: str) -> BundlePlace:
    """Find a bundle by the path or URL of its version.

    Raises:
        RepositoryError: The location doesn't end with MODEL/VERSION.
    """
    path = _local_path(location)
    full = location.rstrip("/") if path is None else str(path.resolve())
    scheme, separator, inside = full.rpartition("://")
    root, model, version = ["", "", *inside.rsplit("/", 2)][-3:]
    if not (MODEL_NAME.fullmatch(model) and is_version(version)):
        raise RepositoryError(
            f"{location!r} is no bundle; name one like models/MODEL/VERSION "
            "or s3://BUCKET/models/MODEL/VERSION"
        )
    return BundlePlace(
        open_repository(f"{scheme}{separator}{root}" or "/"), model, int(version), path
    )


def _local_path(location: str) -> Path | None:
    """The path that a location names; None for a URL of another machine."""
    for scheme in _FILE_SCHEMES:
        if location.startswith(scheme):
            return Path(location.removeprefix(scheme))
    return None if "://" in location else Path(location)
