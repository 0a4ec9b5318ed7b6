"""Downloads one version: bounded, checked while it is written, and whole or not at all."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from convscope.server.errors import BundleRejectedError
from convscope.server.repository.bundle import (
    BUNDLE_FILES,
    MANIFEST,
    MAX_FILE_BYTES,
    MAX_MANIFEST_BYTES,
    check_listed,
    parse_manifest,
)
from convscope.server.repository.remote.listing import Files
from convscope.server.repository.remote.storage import Remote, RemoteError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["fetch_version"]


def fetch_version(
    remote: Remote,
    folder: str,
    files: Files,
    target: Path,
    stopping: Callable[[], bool],
) -> None:
    """Download a version into a new directory.

    Nothing that the remote says is a path here: the names of the files are a
    bundle's own three.

    Args:
        remote: Where it lies.
        folder: Its folder there.
        files: What a listing shows of that folder.
        target: The directory that is to be.
        stopping: Whether to give up.

    Raises:
        BundleRejectedError: It isn't what its manifest says, or no bundle.
        RemoteError: It can't be read now.
        OSError: It can't be written.
    """
    _check_names(files)
    with _new_directory(target) as directory:
        try:
            data = remote.read(f"{folder}/{MANIFEST}", MAX_MANIFEST_BYTES)
        except ValueError as error:
            raise BundleRejectedError(
                "files", f"{MANIFEST} has more than {MAX_MANIFEST_BYTES:,} bytes"
            ) from error
        manifest = parse_manifest(data)
        check_listed(manifest)
        for stated in manifest.files:
            _check_size(stated, files[stated.name].size_bytes)
            blocks = remote.blocks(f"{folder}/{stated.name}")
            _write_checked(directory / stated.name, blocks, stated, stopping)
        (directory / MANIFEST).write_bytes(data)
        _sync(directory / MANIFEST)


def _check_names(files: Files) -> None:
    if missing := sorted(BUNDLE_FILES - files.keys()):
        raise BundleRejectedError("files", f"{', '.join(missing)} is missing")
    if extra := sorted(files.keys() - BUNDLE_FILES):
        names = ", ".join(extra)[:200]
        raise BundleRejectedError("files", f"{names} doesn't belong to a bundle")


def _check_size(stated: pb.BundleFile, size_bytes: int | None) -> None:
    if stated.size_bytes > MAX_FILE_BYTES:
        raise BundleRejectedError(
            "files",
            f"{stated.name} has {stated.size_bytes:,} bytes; at most {MAX_FILE_BYTES:,} are read",
        )
    if size_bytes is not None and size_bytes != stated.size_bytes:
        raise _wrong_size(stated, f"{size_bytes:,}")


def _write_checked(
    path: Path, blocks: Iterator[bytes], stated: pb.BundleFile, stopping: Callable[[], bool]
) -> None:
    """Write a file as it comes, never more of it than its manifest says."""
    digest, written = hashlib.sha256(), 0
    with path.open("xb") as file:
        for block in blocks:
            if stopping():
                raise RemoteError("the server is to end")
            written += len(block)
            if written > stated.size_bytes:
                raise _wrong_size(stated, f"more than {stated.size_bytes:,}")
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    if written < stated.size_bytes:  # which the listing did not say: the way broke off
        raise RemoteError(f"{stated.name} ended after {written:,} of {stated.size_bytes:,} bytes")
    if digest.hexdigest() != stated.sha256:
        raise BundleRejectedError(
            "hash",
            f"the SHA-256 of {stated.name} is {digest.hexdigest()[:12]}…, the manifest says "
            f"{stated.sha256[:12]}…; publish the bundle again as another version",
        )


def _wrong_size(stated: pb.BundleFile, found: str) -> BundleRejectedError:
    return BundleRejectedError(
        "hash", f"{stated.name} has {found} bytes, the manifest says {stated.size_bytes:,}"
    )


@contextmanager
def _new_directory(target: Path) -> Iterator[Path]:
    """Give a directory to fill beside the target, and rename it into its place at the end."""
    # Dotted: readers of a repository take only names that are models or versions.
    temporary = target.parent / f".tmp-{uuid.uuid4().hex}"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _sync(temporary)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Wait until a file, or a directory's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
