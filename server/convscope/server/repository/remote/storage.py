"""A repository behind a URL that fsspec knows: what lies there, and its bytes.

fsspec is imported when the first `Remote` is made, so that a server of a local
directory neither needs it nor waits for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from convscope.server.errors import StartError

__all__ = ["CHAIN", "Remote", "RemoteError", "RemoteFile", "without_secrets"]

# Between the URLs of which fsspec puts one file system upon the other.
CHAIN = "::"
BLOCK_BYTES = 2**20
# So much is asked for at once; file systems that read ahead keep twice as much.
REQUEST_BYTES = 8 * 2**20
_MOST_REASON_CHARACTERS = 300
# What tells one content of a file from another, as the file systems call it. Times of
# access and storage classes change without the content, and aren't among them.
_STAMPS = (
    *("ETag", "etag", "md5Hash", "generation", "blob_id"),
    *("mtime", "LastModified", "last_modified", "modified", "created"),
)


class RemoteError(Exception):
    """The remote can't be read now; the message says why, without any secret of its URL."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as a listing shows it.

    Args:
        size_bytes: Its size; None if the file system doesn't tell.
        stamp: Another one means another content.
    """

    size_bytes: int | None
    stamp: str


class Remote:
    """Reads what is behind a URL. Its options are fsspec's own: its files and variables.

    Args:
        url: The URL of the folder that holds the models.

    Raises:
        StartError: No file system is known for it, its package isn't installed,
            or it is a chain of several.
    """

    def __init__(self, url: str) -> None:
        if CHAIN in url:  # whose secrets may be anywhere in it, so the message has none of it
            raise StartError(
                f"--models is a chain of URLs, joined by {CHAIN!r}, and only a single one is "
                "followed; give that of the folder that holds the models, such as "
                "s3://BUCKET/models"
            )
        self.url = without_secrets(url)
        self._secrets = _secrets(url)
        self._system, self._root = self._connect(url)

    def files(self) -> dict[str, RemoteFile]:
        """List every file below the URL, by its path from there.

        Raises:
            RemoteError: They can't be listed.
        """
        with self._sentence():
            self._system.invalidate_cache()
            try:
                # All at once: object stores list a thousand files in one answer, and folder
                # by folder they would be asked once for each version.
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

    def blocks(self, path: str) -> Iterator[bytes]:
        """Read a file, block by block.

        Raises:
            RemoteError: It can't be read.
        """
        with self._sentence():
            # A web server may not know how to send a part: it sends all, in one stream.
            block_bytes = 0 if self.url.startswith("http") else REQUEST_BYTES
            stream = self._system.open(f"{self._root}/{path}", "rb", block_size=block_bytes)
        with stream:
            while True:
                with self._sentence():
                    block = bytes(stream.read(BLOCK_BYTES))
                if not block:
                    return
                yield block

    def read(self, path: str, max_bytes: int) -> bytes:
        """Read a small file.

        Raises:
            RemoteError: It can't be read.
            ValueError: It is larger than it may be.
        """
        data = b""
        for block in self.blocks(path):
            data += block
            if len(data) > max_bytes:
                raise ValueError(f"{path} has more than {max_bytes:,} bytes")
        return data

    def _connect(self, url: str) -> tuple[Any, str]:
        """Find the file system of the URL, and the path in it."""
        from fsspec import available_protocols  # type: ignore[import-untyped]
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        protocol = url.partition("://")[0]
        if protocol not in available_protocols():
            raise StartError(
                f"no file system is known for {protocol}:// of --models {self.url}; give a "
                "directory, or a URL such as s3://BUCKET/models, gs://… or hf://…"
            )
        try:
            system, root = url_to_fs(url)
        except ImportError as error:
            raise StartError(
                f"--models {self.url} needs a package that isn't installed: "
                f"{_missing(protocol, error)}"
            ) from error
        except Exception as error:  # each file system has errors of its own, of no common class
            raise StartError(
                f"--models {self.url} can't be opened: {self._reason(error)}"
            ) from error
        return system, str(root).rstrip("/")

    @contextmanager
    def _sentence(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each file system has errors of its own, of no common class
            raise RemoteError(self._reason(error)) from error

    def _reason(self, error: Exception) -> str:
        """What an error says, in short and without the secrets of the URL."""
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        for secret in self._secrets:
            said = said.replace(secret, "…")
        lines = said.strip().splitlines() or [type(error).__name__]
        return lines[0][:_MOST_REASON_CHARACTERS]


def without_secrets(url: str) -> str:
    """Give a URL without what may be secret in it: user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}".rstrip("/")


def _secrets(url: str) -> list[str]:
    """What may be secret in a URL, as it is written there and as a server is told it."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    password = user.partition(":")[2]
    written = (user, password, parts.query, parts.fragment)
    return [secret for secret in (*written, *map(unquote, written)) if secret]


def _file(info: dict[str, Any]) -> RemoteFile:
    size = info.get("size")
    stamps = [str(info[name]) for name in _STAMPS if info.get(name) is not None]
    return RemoteFile(None if size is None else int(size), " ".join(stamps))


def _missing(protocol: str, error: ImportError) -> str:
    """Name the package that brings a file system."""
    from fsspec.registry import known_implementations  # type: ignore[import-untyped]

    package = str(known_implementations[protocol]["class"]).partition(".")[0]
    # fsspec's own ones say which package of somebody else they need.
    return str(error).splitlines()[0] if package == "fsspec" else f"pip install {package}"
