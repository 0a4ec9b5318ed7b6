"""Changes to a repository of tiny models, and what a manager serves of it."""

import json
from collections.abc import Callable
from pathlib import Path

from convscope.server.repository.manager import ModelManager
from convscope.server.runtime.versions import LoadedVersion
from support.alterations import flip_byte

MakeManager = Callable[..., ModelManager[LoadedVersion]]


def serving(manager: ModelManager[LoadedVersion], model: str = "tiny") -> list[int]:
    """The loaded versions of a model."""
    return [version.key[1] for version in manager.catalog if version.key[0] == model]


def corrupt(directory: Path) -> None:
    """Change one byte of a version's graph."""
    flip_byte(directory / "model.onnx", 50)


def set_alias(root: Path, **aliases: int) -> None:
    """Replace the aliases of the model "tiny"."""
    (root / "tiny" / "aliases.json").write_text(json.dumps(aliases))
