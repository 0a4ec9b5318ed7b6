"""What a repository of bundles is, wherever it lies."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from google.protobuf import json_format

from convscope.exporter.bundles.writer import MANIFEST, MODEL_NAME
from convscope.exporter.errors import ExporterError, UnknownNameError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["NewVersion", "Repository", "RepositoryError", "is_version", "near", "reason"]

_MOST_NAMES = 20
_MOST_REASON_CHARACTERS = 300


class RepositoryError(ExporterError):
    """A repository can't be read or changed."""


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that is to be added to a repository.

    Args:
        manifest: Its manifest; the files that it names are copied.
        manifest_json: The same as the bytes of manifest.json.
        source: The directory that holds the files.
    """

    manifest: pb.ModelManifest
    manifest_json: bytes
    source: Path

    @property
    def size_bytes(self) -> int:
        """The size of everything that is copied."""
        return len(self.manifest_json) + sum(file.size_bytes for file in self.manifest.files)


class Repository(ABC):
    """Models with their versions: MODEL/VERSION/{manifest.json, model.onnx, golden.npz}.

    A version without its manifest isn't there yet, or isn't there any more.

    Args:
        location: What a user calls it: a path or a URL.
    """

    def __init__(self, location: str) -> None:
        self.location = location

    @abstractmethod
    def names(self, *folder: str) -> list[str]:
        """What lies in a folder of the repository; nothing if there is no such folder."""

    @abstractmethod
    def size(self, *path: str) -> int | None:
        """The size of a file in bytes; None if there is no such file."""

    @abstractmethod
    def read(self, *path: str) -> bytes | None:
        """What is in a file; None if there is no such file."""

    @abstractmethod
    def replace(self, model: str, name: str, data: bytes) -> None:
        """Replace a file beside a model's versions: readers see the old or the new one."""

    @abstractmethod
    def lock(self, model: str) -> AbstractContextManager[None]:
        """Keep others from changing a model's aliases, or removing its versions, meanwhile."""

    @abstractmethod
    def add(self, version: NewVersion, on_bytes: Callable[[int], None]) -> None:
        """Add a version, all of it at once.

        Args:
            version: Its files and manifest.
            on_bytes: Told how many bytes were copied, piece by piece.

        Raises:
            PublishError: The version exists by now, or can't be written.
        """

    @abstractmethod
    def remove(self, model: str, version: int) -> None:
        """Remove a version, for a reader all of it at once."""

    @abstractmethod
    def fetch(self, model: str, version: int, name: str, target: Path) -> None:
        """Copy a file of a version into a directory that is there."""

    def place(self, model: str, version: int) -> str:
        """Where a version lies, in the user's terms."""
        return f"{self.location.rstrip('/')}/{model}/{version}"

    def models(self) -> list[str]:
        """Every model with a version."""
        names = sorted(name for name in self.names() if MODEL_NAME.fullmatch(name))
        return [name for name in names if self.versions(name)]

    def versions(self, model: str) -> list[int]:
        """A model's versions, the earliest first."""
        numbers = sorted(int(name) for name in self.names(model) if is_version(name))
        return [number for number in numbers if self.holds(model, number)]

    def holds(self, model: str, version: int) -> bool:
        """Whether a version is there."""
        return self.size(model, str(version), MANIFEST) is not None

    def manifest(self, model: str, version: int) -> pb.ModelManifest:
        """Read a version's manifest.

        Raises:
            RepositoryError: It can't be read.
            UnknownNameError: There is no such version.
        """
        data = self.read(model, str(version), MANIFEST)
        if data is None:
            self.require_version(model, version)
            raise RepositoryError(f"{self.place(model, version)} was removed meanwhile")
        try:
            return json_format.Parse(data, pb.ModelManifest())
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise RepositoryError(
                f"{self.place(model, version)}/{MANIFEST} is no manifest: {reason(error)}; "
                "publish the bundle again as another version"
            ) from error

    def require_model(self, model: str) -> list[int]:
        """The versions of a model that must be there.

        Raises:
            UnknownNameError: It isn't; the message names those that are.
        """
        found = self.versions(model) if MODEL_NAME.fullmatch(model) else []
        if not found:
            raise UnknownNameError(
                f"no model {model!r} in {self.location}{near(model, self.models())}"
            )
        return found

    def require_version(self, model: str, version: int) -> None:
        """Check that a version is there.

        Raises:
            UnknownNameError: It isn't; the message names those that are.
        """
        found = self.require_model(model)
        if version not in found:
            known = _listed([str(number) for number in found])
            raise UnknownNameError(f"{model} has no version {version}; it has: {known}")


def near(name: str, known: Iterable[str]) -> str:
    """The rest of a sentence about an unknown name: the nearest, or all that there are."""
    known = sorted(known)
    if close := get_close_matches(name, known):
        return f"; did you mean {' or '.join(close)}?"
    return f"; it has: {_listed(known)}"


def reason(error: Exception) -> str:
    """What an error says, in short and without the path that the sentence has anyway."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = said.strip().splitlines() or [type(error).__name__]
    return lines[0][:_MOST_REASON_CHARACTERS]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[-_MOST_NAMES:]) + (f" and {more} more" if more > 0 else "") or "none"


def is_version(name: str) -> bool:
    """Whether a directory's name is a version's number."""
    return name.isascii() and name.isdecimal() and name[0] != "0"
