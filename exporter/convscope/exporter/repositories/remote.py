"""A repository behind a URL that fsspec knows: s3://, gs://, hf:// and others.

Objects have no rename, so a version's manifest is what makes it be there: it is
uploaded last and removed first.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from convscope.exporter.bundles.writer import MANIFEST
from convscope.exporter.errors import ExporterError, PublishError
from convscope.exporter.repositories.repository import (
    NewVersion,
    Repository,
    RepositoryError,
    reason,
)

__all__ = ["RemoteRepository"]


class RemoteRepository(Repository):
    """A repository behind a URL.

    Args:
        url: The URL.

    Raises:
        RepositoryError: No file system is known for it, or its package isn't installed.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._system, self._root = _connect(url)

    def names(self, *folder: str) -> list[str]:
        """What lies in a folder."""
        with self._sentence("read"):
            try:
                self._system.invalidate_cache()
                found = self._system.ls(self._path(*folder), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return [path.rstrip("/").rpartition("/")[2] for path in found]

    def size(self, *path: str) -> int | None:
        """The size of a file."""
        with self._sentence("read"):
            try:
                info = self._system.info(self._path(*path))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return int(info["size"]) if info["type"] == "file" else None

    def read(self, *path: str) -> bytes | None:
        """What is in a file."""
        with self._sentence("read"):
            try:
                return bytes(self._system.cat_file(self._path(*path)))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def replace(self, model: str, name: str, data: bytes) -> None:
        """Replace an object, which such stores do at once."""
        with self._sentence("changed"):
            self._system.pipe_file(self._path(model, name), data)

    def lock(self, model: str) -> AbstractContextManager[None]:
        """Do nothing: object stores have no locks, and the last writer wins."""
        return nullcontext()

    def add(self, version: NewVersion, on_bytes: Callable[[int], None]) -> None:
        """Add a version: the manifest is uploaded when everything else is there."""
        manifest = version.manifest
        folder = (manifest.model, str(manifest.version))
        place = self.place(manifest.model, manifest.version)
        with self._sentence("changed", "nothing was published, so try again"):
            for file in manifest.files:
                self._upload(version.source / file.name, (*folder, file.name), on_bytes)
                if self.size(*folder, file.name) != file.size_bytes:
                    raise PublishError(
                        f"{file.name} didn't arrive whole; nothing was published, so try again"
                    )
            try:
                path = self._path(*folder, MANIFEST)
                self._system.pipe_file(path, version.manifest_json, mode="create")
            except FileExistsError as error:
                raise PublishError(
                    f"{place} was published by somebody else meanwhile; compare both with diff, "
                    "and publish yours with --version under another number"
                ) from error
        on_bytes(len(version.manifest_json))

    def remove(self, model: str, version: int) -> None:
        """Remove a version, its manifest first."""
        folder = self._path(model, str(version))
        with self._sentence("changed"):
            self._system.rm(f"{folder}/{MANIFEST}")
            self._system.invalidate_cache()
            self._system.rm(folder, recursive=True)

    def fetch(self, model: str, version: int, name: str, target: Path) -> None:
        """Download a file of a version."""
        with self._sentence("read"):
            self._system.get_file(self._path(model, str(version), name), str(target / name))

    def _upload(
        self, source: Path, target: tuple[str, ...], on_bytes: Callable[[int], None]
    ) -> None:
        from fsspec.callbacks import Callback  # type: ignore[import-untyped]

        told = 0

        def tell(size: int | None, value: int) -> None:
            nonlocal told
            on_bytes(value - told)
            told = value

        self._system.put_file(
            str(source), self._path(*target), callback=Callback(hooks={"progress": tell})
        )
        on_bytes(source.stat().st_size - told)  # some file systems tell nothing

    def _path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    @contextmanager
    def _sentence(
        self, done: str, then: str = "check the address and your access"
    ) -> Iterator[None]:
        try:
            yield
        except ExporterError:
            raise
        except Exception as error:  # each file system has errors of its own, of no common class
            raise RepositoryError(
                f"{self.location} can't be {done}: {reason(error)}; {then}"
            ) from error


def _connect(url: str) -> tuple[Any, str]:
    """Find the file system of a URL, and the path in it."""
    from fsspec import available_protocols  # type: ignore[import-untyped]
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    protocol = url.partition("://")[0]
    if protocol not in available_protocols():
        raise RepositoryError(
            f"no file system is known for {protocol}:// in {url!r}; "
            "use a path, or a URL such as s3://BUCKET/models, gs://… or hf://…"
        )
    try:
        system, root = url_to_fs(url)
    except ImportError as error:
        raise RepositoryError(
            f"{protocol}:// needs a package that isn't installed: {_missing(protocol, error)}"
        ) from error
    except Exception as error:  # each file system has errors of its own, of no common class
        raise RepositoryError(f"{url} can't be opened: {reason(error)}") from error
    return system, str(root).rstrip("/")


def _missing(protocol: str, error: ImportError) -> str:
    """Name the package that brings a file system."""
    from fsspec.registry import known_implementations  # type: ignore[import-untyped]

    package = str(known_implementations[protocol]["class"]).partition(".")[0]
    # fsspec's own ones say which package of somebody else they need.
    return reason(error) if package == "fsspec" else f"pip install {package}"
