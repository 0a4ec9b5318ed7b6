"""A repository on disk."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convscope.bundle.durable import (
    copy_file,
    new_directory,
    remove_directory,
    replace_file,
    sync,
    write_file,
)
from convscope.bundle.errors import (
    BundleRejectedError,
    InvalidValueError,
    PublishError,
    RepositoryError,
    reason_of,
)
from convscope.bundle.hashes import FileCheck
from convscope.bundle.layout import LOCK, MANIFEST, MAX_DOCUMENT_BYTES, SIGNATURE
from convscope.bundle.plain_files import NotPlainError, read_plain
from convscope.bundle.repository import NewVersion, Repository

__all__ = ["LocalRepository", "model_directory", "read_small_file"]


class LocalRepository(Repository):
    """A repository on disk.

    Args:
        root: Its directory; created when the first version is added.
        location: Its name in messages; the directory's path by default.
    """

    def __init__(self, root: Path, location: str | None = None) -> None:
        super().__init__(str(root) if location is None else location)
        self._root = root

    def names(self, *folder: str) -> list[str]:
        """Return the names in a folder."""
        directory = self._root.joinpath(*folder)
        with self._errors("read"), suppress(FileNotFoundError, NotADirectoryError):
            return [path.name for path in directory.iterdir()]
        return []

    def size(self, *path: str) -> int | None:
        """Return the size of a file."""
        with self._errors("read"), suppress(FileNotFoundError, NotADirectoryError):
            return self._root.joinpath(*path).stat().st_size
        return None

    def read(self, *path: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes | None:
        """Return the content of a small file."""
        with self._errors("read"):
            return read_small_file(self._root.joinpath(*path), max_bytes)

    def replace(self, model: str, name: str, data: bytes) -> None:
        """Replace a file by a rename."""
        with self._errors("changed"):
            replace_file(self._root / model / name, data)

    @contextmanager
    def lock(self, model: str) -> Iterator[None]:
        """Hold the model's lock; the system releases it when the process ends."""
        with self._errors("changed"):
            file = (self._root / model / LOCK).open("ab")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def add(self, version: NewVersion, on_bytes: Callable[[int], None]) -> None:
        """Add a version: a complete directory is renamed to its place."""
        manifest = version.manifest
        target = self._root / manifest.model / str(manifest.version)
        try:
            with model_directory(target.parent), new_directory(target) as temporary:
                _fill(temporary, version, on_bytes)
        except FileExistsError as error:
            raise PublishError(
                f"{self.place(manifest.model, manifest.version)} was published by another process "
                "meanwhile; use --version with another number"
            ) from error
        except OSError as error:
            raise PublishError(
                f"{self.place(manifest.model, manifest.version)} can't be written: "
                f"{reason_of(error)}; nothing was published"
            ) from error

    def remove(self, model: str, version: int) -> None:
        """Remove a version: its directory first gets a name that readers skip."""
        with self._errors("changed"):
            remove_directory(self._root / model / str(version))

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RepositoryError(
                f"{self.location} can't be {action}: {reason_of(error)}; check that it is a "
                "directory to which you have access"
            ) from error


def read_small_file(path: Path, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes | None:
    """Return the content of a small plain file; None if it doesn't exist.

    Raises:
        InvalidValueError: It is larger, or not a plain file.
        OSError: It can't be read.
    """
    data: bytes | None
    try:
        data = read_plain(path, max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except NotPlainError:
        data = None
    if data is None or len(data) > max_bytes:
        raise InvalidValueError(f"{path.name} is not a plain file of at most {max_bytes:,} bytes")
    return data


@contextmanager
def model_directory(directory: Path) -> Iterator[None]:
    """Create a model's directory, and remove it again if its first version can't be added."""
    directory.mkdir(parents=True, exist_ok=True)
    sync(directory.parent)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # it holds other versions
            directory.rmdir()
        raise


def _fill(directory: Path, version: NewVersion, on_bytes: Callable[[int], None]) -> None:
    for file in version.manifest.files:
        try:
            copy_file(version.source / file.name, directory / file.name, FileCheck(file), on_bytes)
        except BundleRejectedError as error:
            raise PublishError(
                f"{file.name} changed while it was copied; nothing was published, so try again"
            ) from error
    if version.signature is not None:
        write_file(directory / SIGNATURE, version.signature)
        on_bytes(len(version.signature))
    write_file(directory / MANIFEST, version.manifest_json)
    on_bytes(len(version.manifest_json))
