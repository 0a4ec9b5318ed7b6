"""Names and limits of the files of a repository.

    MODEL/VERSION/{manifest.json, model.onnx, golden.npz}, and model.sig if it is signed
    MODEL/{aliases.json, .aliases-history.json, traffic.json, .lock}

Names that begin with a dot are temporary or internal; readers of versions skip them.
"""

import os
import re
from pathlib import Path

from convscope.bundle.errors import InvalidValueError

__all__ = [
    "ALIASES",
    "BUNDLE_FILES",
    "DOCUMENTS",
    "GOLDEN",
    "GRAPH",
    "HISTORY",
    "LISTED_FILES",
    "LOCK",
    "MANIFEST",
    "MAX_DOCUMENT_BYTES",
    "MAX_FILE_BYTES",
    "MAX_MANIFEST_BYTES",
    "MAX_SIGNATURE_BYTES",
    "SIGNATURE",
    "TRAFFIC",
    "check_model_name",
    "check_version",
    "enclosing_repository",
    "is_model_name",
    "is_version",
    "is_version_number",
]

MANIFEST = "manifest.json"
GRAPH = "model.onnx"
GOLDEN = "golden.npz"
# Covers the manifest and the files that it lists, so it is in neither.
SIGNATURE = "model.sig"
# The manifest lists the size and hash of each of these.
LISTED_FILES = (GOLDEN, GRAPH)
# The parts of a repository: how to recognize them, and how far up the repository is.
_PARTS = (("one version of a model", MANIFEST, 2), ("a model", f"*/{MANIFEST}", 1))
BUNDLE_FILES = frozenset((MANIFEST, *LISTED_FILES))

ALIASES = "aliases.json"
HISTORY = ".aliases-history.json"
TRAFFIC = "traffic.json"
# What a server of a remote repository follows.
DOCUMENTS = (ALIASES, TRAFFIC)
LOCK = ".lock"

MAX_MANIFEST_BYTES = 4 * 2**20
MAX_FILE_BYTES = 2**30
MAX_SIGNATURE_BYTES = 2**18
MAX_DOCUMENT_BYTES = 2**20

_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Fits into the int64 of the messages.
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_MAX_SHOWN_CHARACTERS = 80


def is_model_name(name: str) -> bool:
    """Whether a name can be a model's."""
    return bool(_MODEL_NAME.fullmatch(name))


def enclosing_repository(directory: Path) -> tuple[str, Path] | None:
    """Return what a directory is, and the repository around it, if it is a part of one.

    Args:
        directory: A directory that was named as a repository.

    Returns:
        "one version of a model" or "a model", and the repository; None for a
        repository and for a directory that doesn't exist.
    """
    for what, manifest, levels in _PARTS:
        if any(directory.glob(manifest)):
            return what, Path(os.path.normpath(Path(directory, *[".."] * levels)))
    return None


def is_version(name: str) -> bool:
    """Whether a directory's name is a version."""
    return bool(_VERSION.fullmatch(name))


def is_version_number(value: object) -> bool:
    """Whether a value of a JSON file can be a version."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def check_model_name(name: str) -> None:
    """Check that a name can be a model's.

    Raises:
        InvalidValueError: It can't.
    """
    if not is_model_name(name):
        raise InvalidValueError(
            f"{name[:_MAX_SHOWN_CHARACTERS]!r} can't be a model's name; use up to 63 of a-z, "
            "0-9, _ and -, starting with a letter or digit"
        )


def check_version(version: int) -> None:
    """Check that a number can be a version.

    Raises:
        InvalidValueError: It can't.
    """
    if not is_version(str(version)):
        raise InvalidValueError(
            f"{version} can't be a version; versions are 1, 2, 3 and so on, of at most 18 digits"
        )
