"""What a remote's list of files means: models, their versions, and documents beside them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from convscope.bundle.layout import MANIFEST, is_model_name, is_version
from convscope.bundle.storage import StoredFile

__all__ = ["Files", "ListedModel", "content_id", "sort_listing"]

Files = Mapping[str, StoredFile]
"""Files by their path from a folder."""


@dataclass
class ListedModel:
    """What a remote lists of one model.

    Args:
        versions: The files of each version that is complete.
        documents: The files beside the versions, by name.
    """

    versions: dict[int, Files] = field(default_factory=dict)
    documents: dict[str, StoredFile] = field(default_factory=dict)


def sort_listing(files: Files) -> dict[str, ListedModel]:
    """Sort the files of a remote by model and version.

    A manifest is uploaded last and removed first, so a version without one
    doesn't exist yet, or doesn't exist any more.
    """
    models: dict[str, ListedModel] = {}
    folders: dict[tuple[str, int], dict[str, StoredFile]] = {}
    for path, file in files.items():
        model, _, rest = path.partition("/")
        number, _, name = rest.partition("/")
        if not is_model_name(model):
            continue
        if not name:
            models.setdefault(model, ListedModel()).documents[rest] = file
        elif is_version(number) and not name.startswith("."):
            folders.setdefault((model, int(number)), {})[name] = file
    for (model, version), folder in folders.items():
        if MANIFEST in folder:
            models.setdefault(model, ListedModel()).versions[version] = folder
    return models


def content_id(files: Files) -> str:
    """Return an id of a version's content, from what the remote lists."""
    shown = repr(sorted((name, file.size_bytes, file.stamp) for name, file in files.items()))
    return hashlib.sha256(shown.encode()).hexdigest()[:16]
