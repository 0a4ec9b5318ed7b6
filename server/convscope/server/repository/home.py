"""Where caches are located for a user without a home directory."""

import os
import tempfile
from pathlib import Path

__all__ = ["expand_home"]


def expand_home(path: Path) -> Path:
    """Replace a leading ~ by the user's home directory.

    A container with an arbitrary user, cron and some CI systems have none; there the
    directory is one of this user in the system's temporary directory.
    """
    try:
        return path.expanduser()
    except RuntimeError:  # neither HOME nor an entry of the user in the password database
        return Path(tempfile.gettempdir(), f"convscope-{os.getuid()}", *path.parts[1:])
