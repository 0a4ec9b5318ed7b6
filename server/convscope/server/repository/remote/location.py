"""Where a repository lies: in a directory, or behind a URL and in a cache of this machine."""

import hashlib
import re
from pathlib import Path

from convscope.server.repository.remote.storage import CHAIN, without_secrets

__all__ = ["cache_directory", "local_path"]

_FILE_SCHEMES = ("file://", "local://")
_MOST_NAME_CHARACTERS = 60


def local_path(location: str) -> Path | None:
    """The directory that a location names; None for a URL of another machine."""
    for scheme in _FILE_SCHEMES:
        if location.startswith(scheme) and CHAIN not in location:
            return Path(location.removeprefix(scheme))
    return None if "://" in location else Path(location)


def cache_directory(caches: Path, url: str) -> Path:
    """The directory among the caches that is a URL's own: readable, and never another URL's.

    A password that is changed leaves it as it is.
    """
    plain = without_secrets(url)
    readable = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:_MOST_NAME_CHARACTERS]
    return caches.expanduser() / f"{readable}-{hashlib.sha256(plain.encode()).hexdigest()[:12]}"
