"""The small files beside a model's versions: what a remote's say, and their copies here.

A copy is written only after the versions that it names were fetched. Else a
server that is killed in between, and starts again without the remote, would
have aliases of versions that it hasn't.
"""

import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from convscope.server.repository.aliases import ALIASES, read_aliases
from convscope.server.repository.disk import ModelOnDisk
from convscope.server.repository.json_files import replace_object
from convscope.server.repository.remote.listing import ListedModel
from convscope.server.repository.remote.storage import Remote, RemoteFile
from convscope.server.repository.traffic import TRAFFIC, Traffic, read_traffic

__all__ = ["Documents"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_BYTES = 2**20


class Documents:
    """Follows the documents of a remote. Of one that means nothing, the old one stays.

    Args:
        remote: Where they are.
        directory: Where they go, into the directory of their model.
    """

    def __init__(self, remote: Remote, directory: Path) -> None:
        self._directory = directory
        self._aliases: _Kind[dict[str, int]] = _Kind(remote, directory, ALIASES, read_aliases, {})
        self._traffic = _Kind(remote, directory, TRAFFIC, read_traffic, Traffic())

    def read(self, models: Mapping[str, ListedModel]) -> None:
        """Read those that have changed.

        Raises:
            RemoteError: They can't be read now.
            OSError: The directory can't be written to.
        """
        self._aliases.read(models)
        self._traffic.read(models)

    def replace_in(self, model: str, here: ModelOnDisk) -> ModelOnDisk:
        """Put what was read of a model's documents in the place of what lies here."""
        return replace(
            here,
            aliases=self._aliases.said.get(model, here.aliases),
            traffic=self._traffic.said.get(model, here.traffic),
        )

    def write(self, model: str, fetched: Collection[int], listed_at: float) -> None:
        """Bring the copies of a model's documents in step with what was read.

        Args:
            model: Whose.
            fetched: Its versions that are here.
            listed_at: When the remote was looked at, in seconds of the system's
                clock. What another server wrote since then stays.

        Raises:
            OSError: The directory can't be written to.
        """
        directory = self._directory / model
        aliases = self._aliases.said.get(model)
        if aliases is not None:
            before = _read(read_aliases, directory)
            held = _hold(aliases, before or {}, fetched)
            if held != before:
                _write(directory / ALIASES, held, listed_at)
        traffic = self._traffic.said.get(model)
        # A trial of a version that isn't here takes no request: it may be written at once.
        if traffic is not None and traffic != _read(read_traffic, directory):
            trials = {kind: asdict(trial) for kind, trial in traffic}
            _write(directory / TRAFFIC, trials, listed_at)

    def remove_gone(self, models: Mapping[str, ListedModel]) -> None:
        """Remove the copies of what the remote no longer has.

        Raises:
            OSError: The directory can't be written to.
        """
        for name in (ALIASES, TRAFFIC):
            for path in self._directory.glob(f"*/{name}"):
                if name not in models.get(path.parent.name, ListedModel()).documents:
                    path.unlink()


class _Kind(Generic[T]):
    """The documents of one name, and what each model's says.

    Args:
        remote: Where they are.
        directory: Where there is room to parse one.
        name: The name.
        parse: Reads one in a directory; raises ValueError if it means nothing.
        nothing: What a model without one says.
    """

    def __init__(
        self, remote: Remote, directory: Path, name: str, parse: Callable[[Path], T], nothing: T
    ) -> None:
        self.said: dict[str, T] = {}
        self._remote = remote
        self._directory = directory
        self._name = name
        self._parse = parse
        self._nothing = nothing
        self._seen: dict[str, RemoteFile] = {}

    def read(self, models: Mapping[str, ListedModel]) -> None:
        """Read those that have changed, and forget those that are gone."""
        for model in self.said.keys() - models.keys():
            del self.said[model]
            self._seen.pop(model, None)
        for model, listed in models.items():
            file = listed.documents.get(self._name)
            if file is None:
                self._seen.pop(model, None)
                self.said[model] = self._nothing
            elif self._seen.get(model) != file or not file.stamp:
                self._read_one(model)
                self._seen[model] = file

    def _read_one(self, model: str) -> None:
        try:
            data = self._remote.read(f"{model}/{self._name}", MAX_BYTES)
            # In a directory of its own, for its reader looks for it under its name.
            with tempfile.TemporaryDirectory(prefix=".tmp-", dir=self._directory) as name:
                Path(name, self._name).write_bytes(data)
                self.said[model] = self._parse(Path(name))
        except ValueError as error:
            log.error(
                "document of the remote means nothing; the old one stays",
                url=self._remote.url,
                model=model,
                document=self._name,
                reason=str(error)[:200],
            )


def _hold(
    aliases: Mapping[str, int], before: Mapping[str, int], fetched: Collection[int]
) -> dict[str, int]:
    """Let an alias keep its last version while its new one isn't here and that one is."""
    keeps = {
        alias
        for alias, number in aliases.items()
        if number not in fetched and before.get(alias) in fetched
    }
    return {alias: (before if alias in keeps else aliases)[alias] for alias in aliases}


def _read(parse: Callable[[Path], T], directory: Path) -> T | None:
    """Read a copy; None of one that must be written anew."""
    with suppress(OSError, ValueError):
        return parse(directory)
    return None


def _write(path: Path, value: Mapping[str, object], listed_at: float) -> None:
    with suppress(FileNotFoundError):
        if path.stat().st_mtime > listed_at:
            return
    path.parent.mkdir(exist_ok=True)
    replace_object(path, value)
