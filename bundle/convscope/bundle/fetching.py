"""Downloads a version: bounded, checked while it is written, and whole or not at all."""

from collections.abc import Callable, Iterator
from pathlib import Path

from convscope.bundle.durable import new_directory, write_blocks, write_file
from convscope.bundle.errors import BundleRejectedError, InvalidValueError, RepositoryError
from convscope.bundle.hashes import FileCheck, check_names, check_stated_size
from convscope.bundle.layout import MANIFEST, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES, SIGNATURE
from convscope.bundle.listing import Files
from convscope.bundle.manifest import check_files, parse_manifest
from convscope.bundle.storage import Storage

__all__ = ["fetch_version"]


def fetch_version(
    storage: Storage,
    folder: str,
    files: Files,
    target: Path,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Download a version into a new directory.

    Nothing that the remote says becomes a path: the names of the files are a
    bundle's own.

    Args:
        storage: The remote.
        folder: The version's folder there.
        files: What a listing shows of that folder.
        target: The new directory.
        cancelled: Whether to stop.

    Raises:
        BundleRejectedError: It isn't a bundle, or not what its manifest says.
        RepositoryError: It can't be read now, or was cancelled.
        OSError: It can't be written.
    """
    check_names(set(files))
    target.parent.mkdir(parents=True, exist_ok=True)
    with new_directory(target) as directory:
        data = _read_small(storage, f"{folder}/{MANIFEST}", MAX_MANIFEST_BYTES)
        manifest = parse_manifest(data)
        check_files(manifest)
        for stated in manifest.files:
            check_stated_size(stated, files[stated.name].size_bytes)
            blocks = _until(cancelled, storage.blocks(f"{folder}/{stated.name}"))
            check = FileCheck(stated)
            write_blocks(directory / stated.name, blocks, check, lambda _: None)
            if not check.is_complete:  # the listing had the right size: the transfer broke off
                raise RepositoryError(
                    f"{stated.name} ended after {check.size_bytes:,} of {stated.size_bytes:,} "
                    "bytes; try again"
                )
            check.finish()
        if SIGNATURE in files:
            signature = _read_small(storage, f"{folder}/{SIGNATURE}", MAX_SIGNATURE_BYTES)
            write_file(directory / SIGNATURE, signature)
        write_file(directory / MANIFEST, data)


def _read_small(storage: Storage, path: str, max_bytes: int) -> bytes:
    try:
        data = storage.read(path, max_bytes)
    except InvalidValueError as error:
        raise BundleRejectedError("files", str(error)) from error
    if data is None:
        raise RepositoryError(f"{path.rpartition('/')[2]} was removed meanwhile; try again")
    return data


def _until(cancelled: Callable[[], bool], blocks: Iterator[bytes]) -> Iterator[bytes]:
    for block in blocks:
        if cancelled():
            raise RepositoryError("the download was cancelled")
        yield block
