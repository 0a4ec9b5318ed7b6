"""Files and directories that appear on disk whole or not at all."""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convscope.bundle.hashes import FileCheck

__all__ = [
    "copy_file",
    "new_directory",
    "remove_directory",
    "replace_file",
    "sync",
    "write_blocks",
    "write_file",
]

# Dotted: readers of a repository accept only names of models and versions.
TEMPORARY = ".tmp-"
REMOVED = ".removed-"
ABANDONED_AFTER_SECONDS = 3600.0
_BLOCK_BYTES = 2**20


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """Return a directory to fill beside the target, which is renamed to the target at the end.

    Raises:
        FileExistsError: The target exists.
        OSError: The disk is full, or can't be written to.
    """
    _remove_abandoned(target.parent)
    temporary = target.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        yield temporary
        sync(temporary)
        _rename_to_free(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(target.parent)


def remove_directory(directory: Path) -> None:
    """Remove a directory; for a reader all of it disappears at once."""
    for path in directory.parent.glob(f"{REMOVED}*"):  # of a removal that was killed
        shutil.rmtree(path, ignore_errors=True)
    hidden = directory.parent / f"{REMOVED}{directory.name}-{uuid.uuid4().hex}"
    directory.rename(hidden)
    sync(hidden.parent)
    shutil.rmtree(hidden)


def replace_file(target: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file beside the target, and rename it over the target.

    Args:
        target: The target.
        data: Its new content.
        mode: Who may read and write it, unless the umask is stricter.

    Raises:
        OSError: The directory can't be written to; the old file is unchanged.
    """
    temporary = target.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        write_file(temporary, data, mode=mode)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(target.parent)


def write_file(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a new file, and wait until it is on disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - of an open file
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copy_file(
    source: Path, target: Path, check: FileCheck, on_bytes: Callable[[int], None]
) -> None:
    """Copy a file while it is checked, and wait until it is on disk.

    Args:
        source: The file.
        target: The new file.
        check: Receives every byte.
        on_bytes: Called with the number of bytes of each block that was written.

    Raises:
        BundleRejectedError: The file isn't what the check expects.
    """
    with source.open("rb") as reader:
        write_blocks(target, iter(lambda: reader.read(_BLOCK_BYTES), b""), check, on_bytes)
    check.finish()


def write_blocks(
    target: Path, blocks: Iterator[bytes], check: FileCheck, on_bytes: Callable[[int], None]
) -> None:
    """Write blocks to a new file, never more than the check allows.

    The caller finishes the check.
    """
    with target.open("xb") as writer:
        for block in blocks:
            check.update(block)
            writer.write(block)
            on_bytes(len(block))
        writer.flush()
        os.fsync(writer.fileno())


def sync(path: Path) -> None:
    """Wait until a file's content, or a directory's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename_to_free(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError as error:
        if target.exists():  # the system's error differs: EEXIST, ENOTEMPTY, ENOTDIR
            raise FileExistsError(f"{target} exists") from error
        raise


def _remove_abandoned(parent: Path) -> None:
    """Remove what killed processes left behind, but not what others write right now."""
    for path in parent.glob(f"{TEMPORARY}*"):
        with suppress(OSError):  # its process finished meanwhile
            if time.time() - _last_written(path) <= ABANDONED_AFTER_SECONDS:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _last_written(path: Path) -> float:
    inside = path.iterdir() if path.is_dir() else ()
    times: list[float] = [each.stat().st_mtime for each in (path, *inside)]
    return max(times)
