"""The files of a bundle: their names, and their sizes and hashes as the manifest states them."""

import hashlib
from pathlib import Path

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.layout import BUNDLE_FILES, MAX_FILE_BYTES, SIGNATURE
from convscope.v1 import manifest_pb2 as pb

__all__ = ["FileCheck", "check_names", "check_stated_size", "describe_file", "wrong_size"]

_SHOWN_DIGITS = 12


def check_names(names: set[str]) -> None:
    """Check that a version's files are those of a bundle, signed or not.

    Hidden names don't count: file managers, network file systems and mounted
    ConfigMaps leave them.

    Raises:
        BundleRejectedError: One is missing, or there is another one.
    """
    if missing := sorted(BUNDLE_FILES - names):
        raise BundleRejectedError(
            "files",
            f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing; "
            "publish the bundle again",
        )
    if extra := _unexpected(names):
        expected = ", ".join(sorted(BUNDLE_FILES))
        raise BundleRejectedError(
            "files",
            f"{', '.join(extra)[:200]} doesn't belong to a bundle; it has: {expected}",
        )


def _unexpected(names: set[str]) -> list[str]:
    return sorted(n for n in names - BUNDLE_FILES - {SIGNATURE} if not n.startswith("."))


def describe_file(path: Path) -> pb.BundleFile:
    """Return a file's entry in the manifest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return pb.BundleFile(name=path.name, sha256=digest, size_bytes=path.stat().st_size)


class FileCheck:
    """Checks the bytes of a file against the manifest while they are read.

    Args:
        stated: The file's entry in the manifest.
    """

    def __init__(self, stated: pb.BundleFile) -> None:
        self._stated = stated
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def is_complete(self) -> bool:
        """Whether all bytes have been read."""
        return self.size_bytes == self._stated.size_bytes

    def update(self, block: bytes) -> None:
        """Add the next bytes.

        Raises:
            BundleRejectedError: The file has more bytes than stated.
        """
        self.size_bytes += len(block)
        if self.size_bytes > self._stated.size_bytes:
            raise wrong_size(self._stated, f"more than {self._stated.size_bytes:,}")
        self._digest.update(block)

    def finish(self) -> None:
        """Compare the hash of all bytes.

        Raises:
            BundleRejectedError: The size or the hash differs from the stated one.
        """
        if not self.is_complete:
            raise wrong_size(self._stated, f"{self.size_bytes:,}")
        found = self._digest.hexdigest()
        if found != self._stated.sha256:
            raise BundleRejectedError(
                "hash",
                f"the SHA-256 of {self._stated.name} is {found[:_SHOWN_DIGITS]}…, the manifest "
                f"says {self._stated.sha256[:_SHOWN_DIGITS]}…; the file was changed, so publish "
                "the bundle again as another version",
            )


def check_stated_size(stated: pb.BundleFile, found_bytes: int | None) -> None:
    """Check a file's size before its bytes are read.

    Args:
        stated: The file's entry in the manifest.
        found_bytes: The size of the file; None if it isn't known.

    Raises:
        BundleRejectedError: The file is too large, or has another size than stated.
    """
    if (size := max(stated.size_bytes, found_bytes or 0)) > MAX_FILE_BYTES:
        raise BundleRejectedError(
            "files",
            f"{stated.name} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are allowed",
        )
    if found_bytes is not None and found_bytes != stated.size_bytes:
        raise wrong_size(stated, f"{found_bytes:,}")


def wrong_size(stated: pb.BundleFile, found: str) -> BundleRejectedError:
    """Return the error for a file of another size."""
    return BundleRejectedError(
        "hash",
        f"{stated.name} has {found} bytes, the manifest says {stated.size_bytes:,}; the file was "
        "changed, so publish the bundle again as another version",
    )
