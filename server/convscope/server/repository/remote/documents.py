"""The small files beside a model's versions: those of a remote, and their copies in the cache.

A copy is written only after the versions that it names were fetched. Otherwise
a server that is killed in between, and restarts without the remote, would have
aliases of versions that it doesn't have.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from convscope.bundle.aliases import parse_aliases
from convscope.bundle.durable import replace_file
from convscope.bundle.errors import InvalidValueError
from convscope.bundle.json_files import format_object
from convscope.bundle.layout import ALIASES, DOCUMENTS, MAX_DOCUMENT_BYTES, TRAFFIC
from convscope.bundle.listing import ListedModel
from convscope.bundle.local import read_small_file
from convscope.bundle.storage import Storage, StoredFile
from convscope.bundle.traffic import parse_traffic, traffic_document
from convscope.server.repository.scan import ModelOnDisk

__all__ = ["Documents"]

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Documents:
    """Follows the documents of a remote. An invalid one is ignored, and the old one stays.

    Args:
        remote: The remote.
        directory: The cache, which receives them in the directory of their model.
    """

    def __init__(self, remote: Storage, directory: Path) -> None:
        self._directory = directory
        self._aliases = _Kind(remote, ALIASES, parse_aliases)
        self._traffic = _Kind(remote, TRAFFIC, parse_traffic)

    def read(self, models: Mapping[str, ListedModel]) -> None:
        """Read those that have changed.

        Raises:
            RepositoryError: They can't be read now.
        """
        self._aliases.read(models)
        self._traffic.read(models)

    def replace_in(self, model: str, cached: ModelOnDisk) -> ModelOnDisk:
        """Return a cached model with its documents replaced by the remote's."""
        return replace(
            cached,
            aliases=self._aliases.contents.get(model, cached.aliases),
            traffic=self._traffic.contents.get(model, cached.traffic),
        )

    def write(self, model: str, fetched: Collection[int], listed_at: float) -> None:
        """Update the copies of a model's documents.

        Args:
            model: The model.
            fetched: Its versions in the cache.
            listed_at: When the remote was listed, in seconds of the system's
                clock. What another server wrote since then stays.

        Raises:
            OSError: The cache can't be written to.
        """
        directory = self._directory / model
        aliases = self._aliases.contents.get(model)
        if aliases is not None:
            before = _read(directory / ALIASES, parse_aliases)
            usable = _usable(aliases, before or {}, fetched)
            if usable != before:
                _write(directory / ALIASES, usable, listed_at)
        traffic = self._traffic.contents.get(model)
        # A split to a version that isn't cached takes no requests: it may be written at once.
        if traffic is not None and traffic != _read(directory / TRAFFIC, parse_traffic):
            _write(directory / TRAFFIC, traffic_document(traffic), listed_at)

    def remove_gone(self, models: Mapping[str, ListedModel]) -> None:
        """Remove the copies of what the remote no longer has.

        Raises:
            OSError: The cache can't be written to.
        """
        for name in DOCUMENTS:
            for path in self._directory.glob(f"*/{name}"):
                if name not in models.get(path.parent.name, ListedModel()).documents:
                    path.unlink()


class _Kind(Generic[T]):
    """The documents of one name, and the content of each model's.

    Args:
        remote: The remote.
        name: The name.
        parse: Parses one; None stands for an absent one.
    """

    def __init__(self, remote: Storage, name: str, parse: Callable[[bytes | None], T]) -> None:
        self.contents: dict[str, T] = {}
        self._remote = remote
        self._name = name
        self._parse = parse
        self._seen: dict[str, StoredFile] = {}

    def read(self, models: Mapping[str, ListedModel]) -> None:
        """Read those that have changed, and forget those that are gone."""
        for model in self.contents.keys() - models.keys():
            del self.contents[model]
            self._seen.pop(model, None)
        for model, listed in models.items():
            file = listed.documents.get(self._name)
            if file is None:
                self._seen.pop(model, None)
                self.contents[model] = self._parse(None)
            elif self._seen.get(model) != file or not file.stamp:
                self._read_one(model)
                self._seen[model] = file

    def _read_one(self, model: str) -> None:
        try:
            data = self._remote.read(f"{model}/{self._name}", MAX_DOCUMENT_BYTES)
            self.contents[model] = self._parse(data)
        except InvalidValueError as error:
            log.error(
                "document of the remote is invalid; the old one stays",
                url=self._remote.url,
                model=model,
                document=self._name,
                reason=str(error)[:200],
            )


def _usable(
    aliases: Mapping[str, int], before: Mapping[str, int], fetched: Collection[int]
) -> dict[str, int]:
    """Keep the last version of an alias while its new one isn't cached and the last one is."""
    kept = {
        alias
        for alias, number in aliases.items()
        if number not in fetched and before.get(alias) in fetched
    }
    return {alias: (before if alias in kept else aliases)[alias] for alias in aliases}


def _read(path: Path, parse: Callable[[bytes | None], T]) -> T | None:
    """Read a copy; None if it must be written again."""
    with suppress(OSError, InvalidValueError):
        return parse(read_small_file(path))
    return None


def _write(path: Path, content: Mapping[str, object], listed_at: float) -> None:
    with suppress(FileNotFoundError):
        if path.stat().st_mtime > listed_at:
            return
    path.parent.mkdir(exist_ok=True)
    replace_file(path, format_object(content))
