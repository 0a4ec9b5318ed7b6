"""Files behind a URL that fsspec knows: list, read, write."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.bundle.addresses import secrets_of, without_secrets
from convscope.bundle.errors import BundleError, InvalidValueError, RepositoryError
from convscope.bundle.file_systems import open_file_system, reason_without

__all__ = ["Storage", "StoredFile"]

_BLOCK_BYTES = 2**20
# The size of one request; file systems that read ahead keep twice as much.
REQUEST_BYTES = 8 * 2**20
# What distinguishes one content of a file from another, by the names of the file systems. Times
# of access and storage classes change without the content, and aren't among them.
_STAMPS = (
    *("ETag", "etag", "md5Hash", "generation", "blob_id"),
    *("mtime", "LastModified", "last_modified", "modified", "created"),
)
_ABSENT = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as a listing shows it.

    Args:
        size_bytes: Its size; None if the file system doesn't state it.
        stamp: A different stamp means different content; empty if unknown.
    """

    size_bytes: int | None
    stamp: str = ""


class Storage:
    """Reads and writes files behind a URL, with the options of fsspec's files and variables.

    Args:
        url: The URL of a folder.

    Raises:
        AddressError: No file system is known for it, its package isn't installed,
            or it is a chain of several.
    """

    def __init__(self, url: str) -> None:
        self.url = without_secrets(url)
        self._secrets = secrets_of(url)
        self._system, self._root = open_file_system(url)

    def files(self) -> dict[str, StoredFile]:
        """List every file below the URL, by its path from there.

        Raises:
            RepositoryError: They can't be listed.
        """
        with self._errors("read"):
            self._system.invalidate_cache()
            try:
                # All at once: object stores list a thousand files in one reply, and folder
                # by folder they would need one request for each version.
                found = self._system.find(self._root, detail=True)
                if not found:  # some file systems find nothing where they can't connect
                    self._system.ls(self._root, detail=False)
            except FileNotFoundError:
                return {}
        prefix = f"{self._root}/"
        return {
            path.removeprefix(prefix): _file(info)
            for path, info in found.items()
            if path.startswith(prefix) and info["type"] == "file"
        }

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder; empty if there is no such folder.

        Raises:
            RepositoryError: They can't be listed.
        """
        with self._errors("read"):
            self._system.invalidate_cache()
            try:
                found = self._system.ls(self._path(folder), detail=False)
            except _ABSENT:
                return []
        return [path.rstrip("/").rpartition("/")[2] for path in found]

    def size(self, path: str) -> int | None:
        """Return the size of a file in bytes; None if there is no such file.

        Raises:
            RepositoryError: It can't be read.
        """
        with self._errors("read"):
            try:
                info = self._system.info(self._path(path))
            except _ABSENT:
                return None
        return int(info["size"]) if info["type"] == "file" else None

    def blocks(self, path: str) -> Iterator[bytes]:
        """Read a file block by block.

        Raises:
            RepositoryError: It can't be read.
        """
        with self._errors("read"):
            # A web server that can't send parts sends everything in one stream.
            block_bytes = 0 if self.url.startswith("http") else REQUEST_BYTES
            stream = self._system.open(self._path(path), "rb", block_size=block_bytes)
        with stream:
            while True:
                with self._errors("read"):
                    block = bytes(stream.read(_BLOCK_BYTES))
                if not block:
                    return
                yield block

    def read(self, path: str, max_bytes: int) -> bytes | None:
        """Return the content of a small file; None if there is no such file.

        Raises:
            RepositoryError: It can't be read.
            InvalidValueError: It is larger than allowed.
        """
        data = b""
        with self._errors("read"):
            self._system.invalidate_cache()  # the size that a listing gave may be outdated
        try:
            for block in self.blocks(path):
                data += block
                if len(data) > max_bytes:
                    name = path.rpartition("/")[2]
                    raise InvalidValueError(
                        f"{name} has more than the {max_bytes:,} bytes that are allowed"
                    )
        except RepositoryError as error:
            if isinstance(error.__cause__, _ABSENT):
                return None
            raise
        return data

    def write(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
        """Write a file, which replaces the one of its name at once.

        Args:
            path: Where to.
            data: Its content.
            exclusive: Whether to fail if it exists.

        Raises:
            FileExistsError: It is exclusive, and exists.
            RepositoryError: It can't be written.
        """
        with self._errors("changed"):
            try:
                options = {"mode": "create"} if exclusive else {}
                self._system.pipe_file(self._path(path), data, **options)
                return
            except FileExistsError:
                if not exclusive:
                    raise
        raise FileExistsError(path)

    def upload(self, source: Path, path: str, on_bytes: Callable[[int], None]) -> None:
        """Copy a local file.

        Args:
            source: The file.
            path: Where to.
            on_bytes: Called with the number of bytes of each part that was copied.

        Raises:
            RepositoryError: It can't be read or written.
        """
        from fsspec.callbacks import Callback  # type: ignore[import-untyped]

        reported = 0

        def report(size: int | None, value: int) -> None:
            nonlocal reported
            on_bytes(value - reported)
            reported = value

        with self._errors("changed"):
            callback = Callback(hooks={"progress": report})
            self._system.put_file(str(source), self._path(path), callback=callback)
            size = source.stat().st_size
        on_bytes(size - reported)  # some file systems report nothing

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, or a folder with everything in it.

        Raises:
            RepositoryError: It can't be removed.
        """
        with self._errors("changed"):
            self._system.invalidate_cache()
            self._system.rm(self._path(path), recursive=recursive)

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except BundleError:
            raise
        except Exception as error:  # each file system has its own errors, without a common class
            reason = reason_without(self._secrets, error)
            raise RepositoryError(
                f"{self.url} can't be {action}: {reason}; check the address and your access"
            ) from error


def _file(info: dict[str, Any]) -> StoredFile:
    size = info.get("size")
    stamps = [str(info[name]) for name in _STAMPS if info.get(name) is not None]
    return StoredFile(None if size is None else int(size), " ".join(stamps))
