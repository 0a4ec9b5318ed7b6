"""The caches of PyTorch, timm and Matplotlib for a user without a home directory."""

import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

__all__ = ["replace_unusable_caches"]

# The variable of each library's cache, and where the cache is by default.
CACHES = {
    "HF_HOME": "~/.cache/huggingface",
    "MPLCONFIGDIR": "~/.config/matplotlib",
    "TORCH_HOME": "~/.cache/torch",
}


def replace_unusable_caches(environment: MutableMapping[str, str] = os.environ) -> None:
    """Move each cache that can't be in the home directory to a temporary directory.

    A container with an arbitrary user, cron and some CI systems have no home directory, or a
    read-only one. A cache that exists stays in use there.
    """
    moved = [name for name, path in CACHES.items() if name not in environment and not _works(path)]
    if not moved:
        return
    root = Path(tempfile.gettempdir(), f"convscope-exporter-{os.getuid()}")
    root.mkdir(mode=0o700, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != os.getuid():  # made by another user
        root = Path(tempfile.mkdtemp(prefix="convscope-exporter-"))
    for name in moved:
        environment[name] = str(root / name.lower())


def _works(path: str) -> bool:
    """Report whether a directory exists, or can be made."""
    try:
        place = Path(path).expanduser()
    except RuntimeError:  # neither HOME nor an entry of the user in the password database
        return False
    # Path.exists fails in a home that the user may not enter. A home may be a file: /dev/null.
    existing = next(one for one in (place, *place.parents) if os.access(one, os.F_OK))
    return existing.is_dir() and os.access(existing, os.R_OK if existing == place else os.W_OK)
