"""Copies a bundle into another repository."""

from collections.abc import Callable

from convscope.bundle.errors import PublishError
from convscope.bundle.layout import MANIFEST, check_version
from convscope.bundle.manifest import write_manifest
from convscope.bundle.reader import Bundle
from convscope.bundle.repository import NewVersion, Repository
from convscope.v1 import manifest_pb2 as pb

__all__ = ["prepare", "publish"]


def prepare(bundle: Bundle, version: int | None = None) -> NewVersion:
    """Return what is to be published.

    Its signature is copied with it, unless it gets another number: that changes the
    manifest, which the signature covers.

    Args:
        bundle: The bundle, verified.
        version: Its new number; its own by default.

    Raises:
        BundleRejectedError: The signature is too large, or not a plain file.
        InvalidValueError: The number can't be a version.
    """
    if version is None or version == bundle.manifest.version:
        text = (bundle.directory / MANIFEST).read_bytes()
        return NewVersion(bundle.manifest, text, bundle.directory, bundle.read_signature())
    check_version(version)
    manifest = pb.ModelManifest()
    manifest.CopyFrom(bundle.manifest)
    manifest.version = version
    return NewVersion(manifest, write_manifest(manifest), bundle.directory)


def publish(
    repository: Repository,
    version: NewVersion,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> bool:
    """Copy a verified bundle into a repository.

    Args:
        repository: Where to.
        version: The bundle.
        on_bytes: Called with the number of bytes of each block that was copied.

    Returns:
        Whether it or its signature was copied; False if both existed already.

    Raises:
        PublishError: Another bundle has its number, or it can't be written.
    """
    if not _is_published(repository, version):
        repository.add(version, on_bytes)
        return True
    key = (version.manifest.model, version.manifest.version)
    if version.signature in (None, repository.signature(*key)):
        return False
    repository.add_signature(*key, version.signature)
    return True


def _is_published(repository: Repository, version: NewVersion) -> bool:
    """Whether the repository holds this very version.

    Raises:
        PublishError: It holds another one under this number.
    """
    manifest = version.manifest
    if not repository.has(manifest.model, manifest.version):
        return False
    if _is_same(repository, manifest):
        return True
    number = max(repository.versions(manifest.model)) + 1
    raise PublishError(
        f"{repository.place(manifest.model, manifest.version)} exists with other contents, and a "
        f"published version never changes; publish this one with --version {number}"
    )


def _is_same(repository: Repository, manifest: pb.ModelManifest) -> bool:
    folder = (manifest.model, str(manifest.version))
    existing = repository.manifest(manifest.model, manifest.version)
    return existing == manifest and all(
        repository.size(*folder, file.name) == file.size_bytes for file in manifest.files
    )
