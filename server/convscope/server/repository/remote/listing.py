"""What a remote's list of files means: models, their versions, and documents beside them."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from convscope.server.repository.bundle import MANIFEST, MODEL_NAME
from convscope.server.repository.remote.storage import RemoteFile

__all__ = ["NUMBER", "Files", "ListedModel", "digest", "sort_listing"]

Files = Mapping[str, RemoteFile]
"""Files by their path from a folder."""

NUMBER = re.compile(r"[1-9]\d{0,17}")


@dataclass
class ListedModel:
    """What a remote lists of one model.

    Args:
        versions: The files of each version that is complete.
        documents: The files beside the versions, by name.
    """

    versions: dict[int, Files] = field(default_factory=dict)
    documents: dict[str, RemoteFile] = field(default_factory=dict)


def sort_listing(files: Files) -> dict[str, ListedModel]:
    """Sort the files of a remote by model and version.

    As the exporter uploads a manifest last and removes it first, a version
    without one isn't there yet, or isn't any more.
    """
    models: dict[str, ListedModel] = {}
    folders: dict[tuple[str, int], dict[str, RemoteFile]] = {}
    for path, file in files.items():
        model, _, rest = path.partition("/")
        number, _, name = rest.partition("/")
        if not MODEL_NAME.fullmatch(model):
            continue
        if not name:
            models.setdefault(model, ListedModel()).documents[rest] = file
        elif NUMBER.fullmatch(number):
            folders.setdefault((model, int(number)), {})[name] = file
    for (model, version), folder in folders.items():
        if MANIFEST in folder:
            models.setdefault(model, ListedModel()).versions[version] = folder
    return models


def digest(files: Files) -> str:
    """Tell one content of a version from another, by what the remote lists."""
    shown = repr(sorted((name, file.size_bytes, file.stamp) for name, file in files.items()))
    return hashlib.sha256(shown.encode()).hexdigest()[:16]
