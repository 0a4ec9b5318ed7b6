"""Opens what a user names: a repository, or a bundle in one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convscope.bundle.addresses import local_path, without_secrets
from convscope.bundle.errors import AddressError, RepositoryError
from convscope.bundle.layout import enclosing_repository, is_model_name, is_version
from convscope.bundle.local import LocalRepository
from convscope.bundle.remote import RemoteRepository
from convscope.bundle.repository import Repository

__all__ = ["BundleLocation", "existing_repository", "find_bundle", "open_repository"]

MAX_LISTED = 10


@dataclass(frozen=True, slots=True)
class BundleLocation:
    """A version of a model in a repository.

    Args:
        repository: The repository.
        model: The model's name.
        version: The version.
        directory: Its directory; None if it isn't on this machine.
    """

    repository: Repository
    model: str
    version: int
    directory: Path | None

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Return the bundle's directory; a remote one is downloaded and removed afterwards."""
        if self.directory is not None:
            yield self.directory
            return
        if not isinstance(self.repository, RemoteRepository):
            raise TypeError(f"{self.repository.location} is neither local nor remote")
        with tempfile.TemporaryDirectory(prefix="convscope-") as temporary:
            directory = Path(temporary) / self.model / str(self.version)
            self.repository.download(self.model, self.version, directory)
            yield directory


def open_repository(location: str) -> Repository:
    """Open the repository at a path or a URL; it need not exist yet.

    Raises:
        AddressError: The URL can't be a repository's, or the path is a part of one.
    """
    path = local_path(location)
    if path is None:
        return RemoteRepository(location)
    if (part := enclosing_repository(path)) is not None:
        raise AddressError(f"{location} is {part[0]}; the repository is {part[1]}")
    return LocalRepository(path, location)


def existing_repository(location: str) -> Repository:
    """Open a repository that must hold a model.

    Raises:
        RepositoryError: It doesn't, or can't be opened.
    """
    repository = open_repository(location)
    if not repository.names():
        raise RepositoryError(
            f"{repository.location} is not a repository of bundles; name the directory or URL "
            "that holds MODEL/VERSION"
        )
    return repository


def find_bundle(location: str) -> BundleLocation:
    """Find a bundle by the path or URL of its version.

    Raises:
        AddressError: The location doesn't end with MODEL/VERSION, or a local one doesn't exist.
    """
    path = local_path(location)
    full = location.rstrip("/") if path is None else str(path.resolve())
    scheme, separator, inside = full.rpartition("://")
    root, model, version = ["", "", *inside.rsplit("/", 2)][-3:]
    if not (is_model_name(model) and is_version(version)):
        shown = without_secrets(location) if path is None else location
        if path is not None and (known := _versions(path)):
            raise AddressError(
                f"{shown!r} is not a bundle; it has {_listed(known)}; write "
                f"{location.rstrip('/')}/{known[-1]}"
            )
        raise AddressError(
            f"{shown!r} is not a bundle; name one like models/MODEL/VERSION "
            "or s3://BUCKET/models/MODEL/VERSION"
        )
    if path is not None and not path.exists():
        known = _versions(path.parent)
        there = f"{model} has {_listed(known)}" if known else f"{path.parent} has no versions"
        raise AddressError(f"there is no bundle {location!r}; {there}")
    repository = open_repository(f"{scheme}{separator}{root}" or "/")
    return BundleLocation(repository, model, int(version), path)


def _versions(directory: Path) -> list[int]:
    """Return the versions in the directory of a model."""
    names = [one.name for one in directory.iterdir()] if directory.is_dir() else []
    return sorted(int(name) for name in names if is_version(name))


def _listed(versions: list[int]) -> str:
    shown = ", ".join(map(str, versions[-MAX_LISTED:]))
    more = "... " if len(versions) > MAX_LISTED else ""
    return f"version{'s' if len(versions) > 1 else ''} {more}{shown}"
