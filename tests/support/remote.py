"""A repository on a file system in memory, and servers that follow it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]

from convscope.server.repository.manager import ModelManager
from convscope.server.repository.remote.sync import RepositorySync
from convscope.server.runtime.versions import LoadedVersion
from support.loading import Follower
from support.repositories import serving

MEMORY = fsspec.filesystem("memory")
URL = "memory://bucket/models"
FILES = ["golden.npz", "manifest.json", "model.onnx"]


@dataclass
class Syncs:
    """Records how a cache kept up with its remote."""

    at: list[float] = field(default_factory=list)
    failures: int = 0

    def synced(self, at: float) -> None:
        self.at.append(at)

    def sync_failed(self) -> None:
        self.failures += 1


@dataclass
class Server:
    """A manager, and the remote that it follows."""

    sync: RepositorySync
    manager: ModelManager[LoadedVersion]
    follower: Follower
    syncs: Syncs

    def serving(self, model: str = "tiny") -> list[int]:
        return serving(self.manager, model)

    def cached(self, model: str = "tiny") -> list[int]:
        """The versions in the cache."""
        directory = self.sync.directory / model
        return sorted(int(path.name) for path in directory.glob("[0-9]*"))

    @property
    def rejections(self) -> list[tuple[int, str]]:
        return [(r.version, r.reason) for r in self.manager.catalog.rejections]

    @property
    def champion(self) -> int:
        return self.manager.catalog.aliases("tiny")["champion"]


StartServer = Callable[..., Server]
Publish = Callable[..., Path]


def upload(path: str, data: bytes) -> None:
    MEMORY.pipe_file(f"/bucket/models/{path}", data)


def remove(path: str) -> None:
    MEMORY.rm(f"/bucket/models/{path}", recursive=True)


def set_alias(**aliases: int) -> None:
    upload("tiny/aliases.json", json.dumps(aliases).encode())


def change_manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(source: Path) -> None:
        path = source / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    return damage


def unreachable(*_: object, **__: object) -> None:
    raise ConnectionError("no route to bucket")
