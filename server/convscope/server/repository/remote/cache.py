"""The directory that a remote repository is copied to: an ordinary repository for its readers.

A version is a link to a directory whose name also says which content of the
remote it holds:

    MODEL/aliases.json
    MODEL/3 -> .3-5f1d…
    MODEL/.3-5f1d…/{manifest.json, model.onnx, golden.npz}

So a version is replaced by one rename of a link, and nothing has to be
remembered that a crash could leave untrue. Several servers may share a cache:
who changes it holds its lock, and nobody removes what another one holds.
"""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convscope.server.repository.bundle import MODEL_NAME
from convscope.server.repository.remote.listing import NUMBER

__all__ = ["Cache"]

LOCK = ".lock"
SYNCED = ".synced"


class Cache:
    """The copies of a remote repository's versions.

    Args:
        directory: Where they lie; it is made if need be.

    Raises:
        OSError: It can't be made or written to.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._held: dict[Path, int] = {}
        # So that a directory that can't be written to is known at once; without the lock, which
        # another server may hold for as long as it downloads.
        (directory / LOCK).touch()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep out other servers that change the same cache."""
        with (self.directory / LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @property
    def models(self) -> list[str]:
        """The name of every model that is or was here."""
        return sorted(p.name for p in self.directory.iterdir() if MODEL_NAME.fullmatch(p.name))

    def versions(self, model: str) -> dict[int, str]:
        """The versions of a model, with the names of the directories that hold them."""
        with suppress(FileNotFoundError):
            return {
                int(path.name): path.readlink().name
                for path in (self.directory / model).iterdir()
                if NUMBER.fullmatch(path.name) and path.is_symlink()
            }
        return {}

    def is_empty(self) -> bool:
        """Whether no version is here."""
        return not any(map(self.versions, self.models))

    def is_newer(self, model: str, version: int, than: float) -> bool:
        """Whether a version is here that was put here after a time of the system's clock."""
        with suppress(FileNotFoundError):
            return (self.directory / model / str(version)).lstat().st_mtime > than
        return False

    def has(self, model: str, name: str) -> bool:
        """Whether a directory of a model is here, whether a version's now or not."""
        return (self.directory / model / name).is_dir()

    def link(self, model: str, version: int, name: str) -> None:
        """Let a version be what a directory of the model holds, at once for every reader.

        Nobody else removes that directory then, until this process lets it go or ends.
        """
        directory = self.directory / model
        if self.versions(model).get(version) != name:
            temporary = directory / f".link-{uuid.uuid4().hex}"
            temporary.symlink_to(name)
            temporary.replace(directory / str(version))
        self._hold(directory / name)

    def unlink(self, model: str, version: int) -> None:
        """Let a version be no more; its files go at the next sweep."""
        (self.directory / model / str(version)).unlink(missing_ok=True)

    def discard(self, model: str, version: int) -> None:
        """Remove a version and its files at once, whoever holds them."""
        name = self.versions(model).get(version)
        if name is not None:
            self.unlink(model, version)
            self._let_go(self.directory / model / name)
            shutil.rmtree(self.directory / model / name, ignore_errors=True)

    def keep(self, kept: Iterable[tuple[str, int]]) -> None:
        """Remove the versions that aren't kept, and what no version holds any more.

        Held by no other server, that is: those of another selection keep theirs.
        """
        wanted = set(kept)
        for model in self.models:
            names = self.versions(model)
            for version, name in names.items():
                path = self.directory / model / name
                if (model, version) in wanted:
                    self._hold(path)
                elif self._is_free(path):
                    self.unlink(model, version)
            self._sweep(model)
            with suppress(OSError):  # it isn't empty
                (self.directory / model).rmdir()

    @property
    def synced_at(self) -> float | None:
        """When it was last like the remote, in seconds of the system's clock; None if never."""
        with suppress(FileNotFoundError):
            return (self.directory / SYNCED).stat().st_mtime
        return None

    def mark_synced(self) -> float:
        """Note that it is like the remote now; returns the time."""
        now = time.time()
        path = self.directory / SYNCED
        path.touch()
        os.utime(path, (now, now))
        return now

    def _sweep(self, model: str) -> None:
        """Remove what no version holds: replaced contents, and what killed processes left."""
        directory = self.directory / model
        linked = set(self.versions(model).values())
        for path in directory.glob(".*"):
            if path.is_symlink() or not path.is_dir():
                path.unlink()
            elif path.name not in linked and self._is_free(path):
                shutil.rmtree(path, ignore_errors=True)

    def _hold(self, path: Path) -> None:
        """Keep other servers from removing a directory, until this process lets it go or ends."""
        if path not in self._held and path.is_dir():
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            self._held[path] = descriptor
            fcntl.flock(descriptor, fcntl.LOCK_SH)

    def _let_go(self, path: Path) -> None:
        if path in self._held:
            os.close(self._held.pop(path))

    def _is_free(self, path: Path) -> bool:
        """Let go of a directory, and tell whether nobody else holds it."""
        self._let_go(path)
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
