"""A repository on a disk."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convscope.exporter.bundles.writer import MANIFEST
from convscope.exporter.errors import PublishError
from convscope.exporter.repositories.durable import (
    copy_file,
    new_directory,
    remove_directory,
    replace_file,
    sync,
    write_file,
)
from convscope.exporter.repositories.repository import (
    NewVersion,
    Repository,
    RepositoryError,
    reason,
)

__all__ = ["LocalRepository"]

_LOCK = ".lock"


class LocalRepository(Repository):
    """A repository on a disk.

    Args:
        root: Its directory; made when the first version is added.
        location: What a user calls it.
    """

    def __init__(self, root: Path, location: str) -> None:
        super().__init__(location)
        self._root = root

    def names(self, *folder: str) -> list[str]:
        """What lies in a folder."""
        directory = self._root.joinpath(*folder)
        with self._readable(), suppress(FileNotFoundError, NotADirectoryError):
            return [path.name for path in directory.iterdir()]
        return []

    def size(self, *path: str) -> int | None:
        """The size of a file."""
        with self._readable(), suppress(FileNotFoundError, NotADirectoryError):
            return self._root.joinpath(*path).stat().st_size
        return None

    def read(self, *path: str) -> bytes | None:
        """What is in a file."""
        with self._readable(), suppress(FileNotFoundError, NotADirectoryError):
            return self._root.joinpath(*path).read_bytes()
        return None

    def replace(self, model: str, name: str, data: bytes) -> None:
        """Replace a file beside a model's versions, by a rename."""
        with self._writable():
            replace_file(self._root / model / name, data)

    @contextmanager
    def lock(self, model: str) -> Iterator[None]:
        """Hold the model's lock; the system lets go of it when the process ends."""
        with self._writable():
            file = (self._root / model / _LOCK).open("ab")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def add(self, version: NewVersion, on_bytes: Callable[[int], None]) -> None:
        """Add a version: a finished directory is renamed into its place."""
        manifest = version.manifest
        target = self._root / manifest.model / str(manifest.version)
        try:
            with _model_directory(target.parent), new_directory(target) as temporary:
                _fill(temporary, version, on_bytes)
        except FileExistsError as error:
            raise PublishError(
                f"{self.place(manifest.model, manifest.version)} was published by somebody else "
                "meanwhile; --version gives another number"
            ) from error
        except OSError as error:
            raise PublishError(
                f"{self.place(manifest.model, manifest.version)} can't be written: "
                f"{reason(error)}; nothing was published"
            ) from error

    def remove(self, model: str, version: int) -> None:
        """Remove a version: its directory gets a name that readers ignore, then goes."""
        with self._writable():
            remove_directory(self._root / model / str(version))

    def fetch(self, model: str, version: int, name: str, target: Path) -> None:
        """Copy a file of a version."""
        with self._readable():
            copy_file(self._root / model / str(version) / name, target / name, lambda _: None)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        with self._sentence("read"):
            yield

    @contextmanager
    def _writable(self) -> Iterator[None]:
        with self._sentence("changed"):
            yield

    @contextmanager
    def _sentence(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RepositoryError(f"{self.location} can't be {done}: {reason(error)}") from error


@contextmanager
def _model_directory(directory: Path) -> Iterator[None]:
    """Make a model's directory, and remove it again if its first version can't be added."""
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
        digest = copy_file(version.source / file.name, directory / file.name, on_bytes)
        if digest != file.sha256:
            raise PublishError(
                f"{file.name} changed while it was copied; nothing was published, so try again"
            )
    write_file(directory / MANIFEST, version.manifest_json)
    on_bytes(len(version.manifest_json))
