"""Where the cache of a remote repository is located."""

import hashlib
import re
from pathlib import Path

from convscope.bundle.addresses import without_secrets
from convscope.server.repository.home import expand_home

__all__ = ["cache_directory"]

_MAX_NAME_CHARACTERS = 60


def cache_directory(caches: Path, url: str) -> Path:
    """Return the directory of a URL among the caches: readable, and unique to the URL.

    Changing a password doesn't change it.
    """
    plain = without_secrets(url)
    readable = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:_MAX_NAME_CHARACTERS]
    return expand_home(caches) / f"{readable}-{hashlib.sha256(plain.encode()).hexdigest()[:12]}"
