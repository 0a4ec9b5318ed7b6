"""Copies a bundle into another repository."""

from collections.abc import Callable
from pathlib import Path

from google.protobuf import json_format

from convscope.exporter.bundles.reader import read_manifest
from convscope.exporter.bundles.writer import MANIFEST
from convscope.exporter.errors import PublishError
from convscope.exporter.repositories.repository import NewVersion, Repository
from convscope.v1 import manifest_pb2 as pb

__all__ = ["prepare", "publish"]


def prepare(directory: Path, version: int | None = None) -> NewVersion:
    """Read what is to be published; its files were verified.

    Args:
        directory: The bundle's directory.
        version: The number that it gets; its own by default.

    Raises:
        BundleError: The manifest can't be read.
    """
    manifest = read_manifest(directory)
    if version is None or version == manifest.version:
        return NewVersion(manifest, (directory / MANIFEST).read_bytes(), directory)
    manifest.version = version
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True)
    return NewVersion(manifest, f"{text}\n".encode(), directory)


def publish(
    repository: Repository,
    version: NewVersion,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> bool:
    """Copy a verified bundle into a repository.

    Args:
        repository: Where it goes.
        version: The bundle.
        on_bytes: Told how many bytes were copied, piece by piece.

    Returns:
        Whether it was copied; False if the same was there already.

    Raises:
        PublishError: Another bundle has its number, or it can't be written.
    """
    if _is_published(repository, version):
        return False
    repository.add(version, on_bytes)
    return True


def _is_published(repository: Repository, version: NewVersion) -> bool:
    """Whether a repository holds this very version already; refuse another under its number."""
    manifest = version.manifest
    if not repository.holds(manifest.model, manifest.version):
        return False
    there = repository.manifest(manifest.model, manifest.version)
    if there == manifest and _sizes_are_right(repository, manifest):
        return True
    number = max(repository.versions(manifest.model)) + 1
    raise PublishError(
        f"{repository.place(manifest.model, manifest.version)} exists with other contents, and a "
        f"published version never changes; publish this one with --version {number}"
    )


def _sizes_are_right(repository: Repository, manifest: pb.ModelManifest) -> bool:
    folder = (manifest.model, str(manifest.version))
    return all(repository.size(*folder, file.name) == file.size_bytes for file in manifest.files)
