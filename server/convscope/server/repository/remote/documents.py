"""The small files beside a model's versions, copied from a remote when they change."""

import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from convscope.server.repository.aliases import ALIASES, read_aliases
from convscope.server.repository.remote.listing import ListedModel
from convscope.server.repository.remote.storage import Remote, RemoteFile
from convscope.server.repository.traffic import TRAFFIC, read_traffic

__all__ = ["Documents"]

log = structlog.get_logger(__name__)

MAX_BYTES = 2**20
# Each with its reader, which raises ValueError for a file that means nothing.
READERS: Mapping[str, Callable[[Path], object]] = {ALIASES: read_aliases, TRAFFIC: read_traffic}


class Documents:
    """Copies the documents of a remote, unless they mean nothing: then the old ones stay.

    Args:
        remote: Where they are.
        directory: Where they go, into the directory of their model.
    """

    def __init__(self, remote: Remote, directory: Path) -> None:
        self._remote = remote
        self._directory = directory
        self._seen: dict[tuple[str, str], RemoteFile] = {}
        self._changed: dict[tuple[str, str], bytes] = {}

    def read(self, models: Mapping[str, ListedModel]) -> None:
        """Read those that have changed.

        Raises:
            RemoteError: They can't be read now.
        """
        for model, listed in models.items():
            for name in READERS.keys() & listed.documents.keys():
                file, key = listed.documents[name], (model, name)
                if self._seen.get(key) == file and file.stamp:
                    continue
                try:
                    self._changed[key] = self._remote.read(f"{model}/{name}", MAX_BYTES)
                except ValueError as error:
                    self._complain(model, name, error)
                self._seen[key] = file

    def write(self, models: Mapping[str, ListedModel]) -> None:
        """Write what was read, and remove what the remote no longer has.

        Raises:
            OSError: The directory can't be written to.
        """
        for (model, name), data in self._changed.items():
            self._replace(model, name, data)
        self._changed = {}
        for name in READERS:
            for path in self._directory.glob(f"*/{name}"):
                model = path.parent.name
                if model not in models or name not in models[model].documents:
                    path.unlink()
                    self._seen.pop((model, name), None)

    def _replace(self, model: str, name: str, data: bytes) -> None:
        # In a directory of its own, for its reader looks for it under its name.
        temporary = self._directory / model / f".tmp-{uuid.uuid4().hex}"
        temporary.mkdir(parents=True)
        try:
            with (temporary / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            READERS[name](temporary)
            (temporary / name).replace(self._directory / model / name)
        except ValueError as error:
            self._complain(model, name, error)
        finally:
            shutil.rmtree(temporary)

    def _complain(self, model: str, name: str, error: ValueError) -> None:
        log.error(
            "document of the remote means nothing; the old one stays",
            url=self._remote.url,
            model=model,
            document=name,
            reason=str(error)[:200],
        )
