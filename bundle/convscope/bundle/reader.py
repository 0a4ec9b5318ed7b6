"""Reads a bundle from disk, and checks every file before it is used."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from convscope.bundle.errors import BundleRejectedError, InvalidValueError
from convscope.bundle.golden import Golden, parse_golden
from convscope.bundle.hashes import FileCheck, check_names, check_stated_size
from convscope.bundle.layout import (
    BUNDLE_FILES,
    GOLDEN,
    GRAPH,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MAX_SIGNATURE_BYTES,
    SIGNATURE,
    is_version,
)
from convscope.bundle.local import read_small_file
from convscope.bundle.manifest import check_manifest, parse_manifest
from convscope.bundle.plain_files import NotPlainError, plain_size, read_plain
from convscope.bundle.signatures import TrustedSigners, check_signature
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Bundle", "read_bundle"]

# Hidden files may be added to a version's three.
_MAX_NAMES = 1000


@dataclass(frozen=True, slots=True)
class Bundle:
    """A version of a model on disk whose manifest has been checked.

    Args:
        directory: The version's directory.
        manifest: Its manifest.
        manifest_sha256: The hash of the manifest's bytes.
    """

    directory: Path
    manifest: pb.ModelManifest
    manifest_sha256: str

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file: of the manifest as it was read, and as it states the rest."""
        listed = {file.name: file.sha256 for file in self.manifest.files}
        return {MANIFEST: self.manifest_sha256, **listed}

    def read_graph(self) -> bytes:
        """Read the ONNX graph.

        Raises:
            BundleRejectedError: Its bytes aren't those that the manifest states.
        """
        return self.read_file(GRAPH)

    def read_golden(self) -> Golden:
        """Read the golden inputs and outputs.

        Raises:
            BundleRejectedError: The bytes aren't those that the manifest states,
                or don't hold the arrays that it calls for.
        """
        return parse_golden(self.read_file(GOLDEN), self.manifest)

    def read_signature(self) -> bytes | None:
        """Read the signature; None if the bundle isn't signed.

        Raises:
            BundleRejectedError: It is too large, or not a plain file.
        """
        try:
            return read_small_file(self.directory / SIGNATURE, MAX_SIGNATURE_BYTES)
        except InvalidValueError as error:
            raise BundleRejectedError("signature", str(error)) from error

    def read_file(self, name: str) -> bytes:
        """Read one of the files that the manifest lists.

        Raises:
            BundleRejectedError: Its size or hash isn't the one stated.
        """
        stated = next(file for file in self.manifest.files if file.name == name)
        path = self.directory / name
        check_stated_size(stated, _plain_size(path))
        data = _read(path, stated.size_bytes + 1)  # one more byte shows that it grew
        check = FileCheck(stated)
        check.update(data)
        check.finish()
        return data


def read_bundle(directory: Path, trusted: TrustedSigners | None = None) -> Bundle:
    """Read and check the manifest of a version's directory, and which files are in it.

    Args:
        directory: The version's directory.
        trusted: One of these must have signed the bundle; None to ignore signatures.
            The signature covers the bytes of the manifest that is returned. The
            manifest has the hashes by which `Bundle` checks every other byte it reads.

    Raises:
        BundleRejectedError: A file is missing or superfluous, or is neither a plain
            file nor a link to one, or the manifest isn't one or contradicts itself
            or its directory, or no trusted signer has signed these files.
        OSError: The directory or a file can't be read.
    """
    names = {path.name for path in islice(directory.iterdir(), _MAX_NAMES)}
    if MANIFEST not in names and (versions := [name for name in names if is_version(name)]):
        latest = f"{directory.name}/{max(versions, key=int)}"
        raise BundleRejectedError("files", f"{MANIFEST} is missing; did you mean {latest}?")
    check_names(names)
    sizes = {name: _plain_size(directory / name) for name in sorted(BUNDLE_FILES)}
    if (size := sizes[MANIFEST]) > MAX_MANIFEST_BYTES:
        raise BundleRejectedError(
            "files", f"{MANIFEST} has {size:,} bytes; at most {MAX_MANIFEST_BYTES:,} are allowed"
        )
    data = _read(directory / MANIFEST, MAX_MANIFEST_BYTES)
    manifest = parse_manifest(data)
    place = Path(os.path.abspath(directory))  # noqa: PTH100 - links keep their own names
    check_manifest(manifest, place.parent.name, place.name)
    bundle = Bundle(directory, manifest, hashlib.sha256(data).hexdigest())
    if trusted is not None:
        _check_exact_files(directory, names)
        check_signature(bundle.read_signature(), bundle.digests, trusted)
    return bundle


def _check_exact_files(directory: Path, names: set[str]) -> None:
    """Check that a version's directory has only files that a signature covers, and no links."""
    extra = sorted(names - BUNDLE_FILES - {SIGNATURE})
    links = sorted(name for name in names if (directory / name).is_symlink())
    if extra or links:
        found = f"{extra[0][:80]} is not covered" if extra else f"{links[0]} is a link"
        raise BundleRejectedError(
            "signature", f"{found}; a signed bundle has only its own plain files"
        )


def _plain_size(path: Path) -> int:
    """Return the size of a file or of a link's target; each read checks its content."""
    with _explain(path):
        return plain_size(path)


def _read(path: Path, max_bytes: int) -> bytes:
    """Return the first bytes of a file or of a link's target."""
    with _explain(path):
        return read_plain(path, max_bytes)


@contextmanager
def _explain(path: Path) -> Iterator[None]:
    """Reject a bundle whose file is a link to nothing, or something else than a file."""
    try:
        yield
    except NotPlainError as error:
        raise BundleRejectedError(
            "files", f"{path.name} is not a plain file; replace it with the file itself"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP) or not path.is_symlink():
            raise
        raise BundleRejectedError(
            "files", f"{path.name} is a link to a file that doesn't exist; publish the bundle again"
        ) from error
