"""The directory that a remote repository is copied to: an ordinary repository for its readers.

A version is a link to a directory whose name also identifies its content:

    MODEL/aliases.json
    MODEL/3 -> .3-5f1d…
    MODEL/.3-5f1d…/{manifest.json, model.onnx, golden.npz}

So a version is replaced by one rename of a link, and there is no state that a
crash could make wrong. Several servers may share a cache: the one that changes it
holds its lock, and directories that another server uses are not removed.
"""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convscope.bundle.layout import LOCK, is_model_name, is_version

__all__ = ["Cache"]

SYNCED = ".synced"


class Cache:
    """The copies of a remote repository's versions.

    Args:
        directory: The cache's directory; created if it doesn't exist.

    Raises:
        OSError: It can't be created or written to.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._held: dict[Path, int] = {}
        # Detects a directory that can't be written to; without the lock, which another server
        # may hold for as long as it downloads.
        (directory / LOCK).touch()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the cache against changes by other servers."""
        with (self.directory / LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @property
    def models(self) -> list[str]:
        """The name of every model that is or was cached."""
        return sorted(p.name for p in self.directory.iterdir() if is_model_name(p.name))

    def versions(self, model: str) -> dict[int, str]:
        """Return the versions of a model, with the names of their directories."""
        with suppress(FileNotFoundError):
            return {
                int(path.name): path.readlink().name
                for path in (self.directory / model).iterdir()
                if is_version(path.name) and path.is_symlink()
            }
        return {}

    def is_empty(self) -> bool:
        """Whether no version is cached."""
        return not any(map(self.versions, self.models))

    def is_newer(self, model: str, version: int, than: float) -> bool:
        """Whether a version was cached after a time of the system's clock."""
        with suppress(FileNotFoundError):
            return (self.directory / model / str(version)).lstat().st_mtime > than
        return False

    def has(self, model: str, name: str) -> bool:
        """Whether a model has a directory of that name, linked or not."""
        return (self.directory / model / name).is_dir()

    def link(self, model: str, version: int, name: str) -> None:
        """Link a version to a directory of the model, at once for every reader.

        Other servers keep that directory until this process releases it or ends.
        """
        directory = self.directory / model
        if self.versions(model).get(version) != name:
            temporary = directory / f".link-{uuid.uuid4().hex}"
            temporary.symlink_to(name)
            temporary.replace(directory / str(version))
        self._hold(directory / name)

    def unlink(self, model: str, version: int) -> None:
        """Remove a version; its files are removed by the next sweep."""
        (self.directory / model / str(version)).unlink(missing_ok=True)

    def discard(self, model: str, version: int) -> None:
        """Remove a version and its files at once, even if another server uses them."""
        name = self.versions(model).get(version)
        if name is not None:
            self.unlink(model, version)
            self._release(self.directory / model / name)
            shutil.rmtree(self.directory / model / name, ignore_errors=True)

    def keep(self, kept: Iterable[tuple[str, int]]) -> None:
        """Remove all other versions, and directories that no version is linked to.

        What another server uses stays, as its selection may differ.
        """
        staying = set(kept)
        for model in self.models:
            names = self.versions(model)
            for version, name in names.items():
                path = self.directory / model / name
                if (model, version) in staying:
                    self._hold(path)
                elif self._is_free(path):
                    self.unlink(model, version)
            self._sweep(model)
            with suppress(OSError):  # it isn't empty
                (self.directory / model).rmdir()

    @property
    def synced_at(self) -> float | None:
        """When it last matched the remote, in seconds of the system's clock; None if never."""
        with suppress(FileNotFoundError):
            return (self.directory / SYNCED).stat().st_mtime
        return None

    def mark_synced(self) -> float:
        """Record that it matches the remote now, and return the time."""
        now = time.time()
        path = self.directory / SYNCED
        path.touch()
        os.utime(path, (now, now))
        return now

    def _sweep(self, model: str) -> None:
        """Remove unlinked directories: replaced contents, and what killed processes left."""
        directory = self.directory / model
        linked = set(self.versions(model).values())
        for path in directory.glob(".*"):
            if path.is_symlink() or not path.is_dir():
                path.unlink()
            elif path.name not in linked and self._is_free(path):
                shutil.rmtree(path, ignore_errors=True)

    def _hold(self, path: Path) -> None:
        """Keep other servers from removing a directory until this process releases it or ends."""
        if path not in self._held and path.is_dir():
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            self._held[path] = descriptor
            fcntl.flock(descriptor, fcntl.LOCK_SH)

    def _release(self, path: Path) -> None:
        if path in self._held:
            os.close(self._held.pop(path))

    def _is_free(self, path: Path) -> bool:
        """Release a directory, and return whether no other server uses it."""
        self._release(path)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            return True
        finally:
            os.close(descriptor)
