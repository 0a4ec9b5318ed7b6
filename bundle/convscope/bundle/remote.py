"""A repository behind a URL that fsspec knows: s3://, gs://, hf:// and others.

Objects have no rename, so a version exists once its manifest does: the manifest
is uploaded last and removed first.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from convscope.bundle.errors import PublishError, RepositoryError
from convscope.bundle.fetching import fetch_version
from convscope.bundle.layout import MANIFEST, MAX_DOCUMENT_BYTES, SIGNATURE
from convscope.bundle.repository import NewVersion, Repository
from convscope.bundle.storage import Storage, StoredFile

__all__ = ["RemoteRepository"]


class RemoteRepository(Repository):
    """A repository behind a URL.

    Args:
        url: The URL.

    Raises:
        AddressError: It can't be a repository's.
    """

    def __init__(self, url: str) -> None:
        self._storage = Storage(url)
        super().__init__(self._storage.url)

    def names(self, *folder: str) -> list[str]:
        """Return the names in a folder."""
        return self._storage.names("/".join(folder))

    def size(self, *path: str) -> int | None:
        """Return the size of a file."""
        return self._storage.size("/".join(path))

    def read(self, *path: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes | None:
        """Return the content of a small file."""
        return self._storage.read("/".join(path), max_bytes)

    def replace(self, model: str, name: str, data: bytes) -> None:
        """Replace an object, which such stores do at once."""
        self._storage.write(f"{model}/{name}", data)

    def lock(self, model: str) -> AbstractContextManager[None]:
        """Do nothing: object stores have no locks, and the last writer wins."""
        return nullcontext()

    def add(self, version: NewVersion, on_bytes: Callable[[int], None]) -> None:
        """Add a version: the manifest is uploaded after everything else."""
        manifest = version.manifest
        folder = f"{manifest.model}/{manifest.version}"
        place = self.place(manifest.model, manifest.version)
        try:
            for file in manifest.files:
                path = f"{folder}/{file.name}"
                self._storage.upload(version.source / file.name, path, on_bytes)
                if self._storage.size(path) != file.size_bytes:
                    raise PublishError(
                        f"{file.name} didn't arrive whole; nothing was published, so try again"
                    )
            if version.signature is not None:
                self._storage.write(f"{folder}/{SIGNATURE}", version.signature)
                on_bytes(len(version.signature))
            self._storage.write(f"{folder}/{MANIFEST}", version.manifest_json, exclusive=True)
        except FileExistsError as error:
            raise PublishError(
                f"{place} was published by another process meanwhile; compare both with diff, "
                "and publish yours with --version under another number"
            ) from error
        except RepositoryError as error:
            raise PublishError(f"{error}; nothing was published, so try again") from error
        on_bytes(len(version.manifest_json))

    def remove(self, model: str, version: int) -> None:
        """Remove a version, its manifest first."""
        folder = f"{model}/{version}"
        self._storage.remove(f"{folder}/{MANIFEST}")
        self._storage.remove(folder, recursive=True)

    def download(self, model: str, version: int, target: Path) -> None:
        """Download a version into a new directory, and check its hashes.

        Raises:
            UnknownNameError: There is no such version.
            BundleRejectedError: It is damaged.
            RepositoryError: It can't be read.
        """
        self.require_version(model, version)
        names = self.names(model, str(version))
        files = {name: StoredFile(self.size(model, str(version), name)) for name in names}
        fetch_version(self._storage, f"{model}/{version}", files, target)
