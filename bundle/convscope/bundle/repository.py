"""A repository of bundles, wherever it is located."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from convscope.bundle.errors import BundleRejectedError, RepositoryError, UnknownNameError
from convscope.bundle.layout import (
    MANIFEST,
    MAX_DOCUMENT_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_SIGNATURE_BYTES,
    SIGNATURE,
    is_model_name,
    is_version,
)
from convscope.bundle.manifest import parse_manifest
from convscope.bundle.suggestions import list_names, or_others
from convscope.v1 import manifest_pb2 as pb

__all__ = ["NewVersion", "Repository"]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to add to a repository.

    Args:
        manifest: Its manifest; the files that it lists are copied.
        manifest_json: The bytes of its manifest.json.
        source: The directory of the files.
        signature: The bytes of its model.sig; None if it isn't signed.
    """

    manifest: pb.ModelManifest
    manifest_json: bytes
    source: Path
    signature: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """The size of everything that is copied."""
        listed = sum(file.size_bytes for file in self.manifest.files)
        return len(self.manifest_json) + len(self.signature or b"") + listed


class Repository(ABC):
    """Models with their versions.

    A version without its manifest doesn't exist yet, or doesn't exist any more.

    Args:
        location: Its name in messages: a path, or a URL without its secrets.
    """

    def __init__(self, location: str) -> None:
        self.location = location

    @abstractmethod
    def names(self, *folder: str) -> list[str]:
        """Return the names in a folder; empty if there is no such folder."""

    @abstractmethod
    def size(self, *path: str) -> int | None:
        """Return the size of a file in bytes; None if there is no such file."""

    @abstractmethod
    def read(self, *path: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes | None:
        """Return the content of a small file; None if there is no such file.

        Raises:
            InvalidValueError: It is larger, or not a plain file.
        """

    @abstractmethod
    def replace(self, model: str, name: str, data: bytes) -> None:
        """Replace a file in a folder of the repository; readers see the old or the new one.

        Args:
            model: The folder, a model's or a version's.
            name: The file's name.
            data: Its new content.
        """

    @abstractmethod
    def lock(self, model: str) -> AbstractContextManager[None]:
        """Lock a model's aliases, traffic splits and the removal of its versions."""

    @abstractmethod
    def add(self, version: NewVersion, on_bytes: Callable[[int], None]) -> None:
        """Add a version, all of it at once.

        Args:
            version: Its files and manifest.
            on_bytes: Called with the number of bytes of each block that was copied.

        Raises:
            PublishError: The version exists by now, or can't be written.
        """

    @abstractmethod
    def remove(self, model: str, version: int) -> None:
        """Remove a version; for a reader all of it disappears at once."""

    def place(self, model: str, version: int) -> str:
        """Return where a version is located, for messages."""
        return f"{self.location.rstrip('/')}/{model}/{version}"

    def models(self) -> list[str]:
        """Return every model with a version, in alphabetical order."""
        return [name for name in sorted(filter(is_model_name, self.names())) if self.versions(name)]

    def versions(self, model: str) -> list[int]:
        """Return a model's versions, the earliest first."""
        numbers = sorted(int(name) for name in self.names(model) if is_version(name))
        return [number for number in numbers if self.has(model, number)]

    def has(self, model: str, version: int) -> bool:
        """Whether a version exists."""
        return self.size(model, str(version), MANIFEST) is not None

    def manifest(self, model: str, version: int) -> pb.ModelManifest:
        """Read a version's manifest without checking its content.

        Raises:
            RepositoryError: It can't be read.
            UnknownNameError: There is no such version.
        """
        data = self.read(model, str(version), MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
        if data is None:
            self.require_version(model, version)
            raise RepositoryError(f"{self.place(model, version)} was removed meanwhile; try again")
        try:
            return parse_manifest(data)
        except BundleRejectedError as error:
            raise RepositoryError(f"{self.place(model, version)}/{error}") from error

    def signature(self, model: str, version: int) -> bytes | None:
        """Return a version's signature; None if it isn't signed.

        Raises:
            InvalidValueError: It is too large, or not a plain file.
        """
        return self.read(model, str(version), SIGNATURE, max_bytes=MAX_SIGNATURE_BYTES)

    def add_signature(self, model: str, version: int, data: bytes) -> None:
        """Add a signature to a version, or replace the one that it has.

        It is the only file of a published version that may change: it has no
        influence on what the version returns.
        """
        self.replace(f"{model}/{version}", SIGNATURE, data)

    def require_model(self, model: str) -> list[int]:
        """Return the versions of a model that must exist.

        Raises:
            UnknownNameError: It doesn't; the message names similar models, or all.
        """
        found = self.versions(model) if is_model_name(model) else []
        if not found:
            raise UnknownNameError(
                f"no model {model[:80]!r} in {self.location}{or_others(model, self.models())}"
            )
        return found

    def require_version(self, model: str, version: int) -> None:
        """Check that a version exists.

        Raises:
            UnknownNameError: It doesn't; the message names those that do.
        """
        found = self.require_model(model)
        if version not in found:
            known = list_names([str(number) for number in found])
            raise UnknownNameError(f"{model} has no version {version}; it has: {known}")
