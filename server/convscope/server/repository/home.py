"""Where caches are located for a user without a home directory."""

import os
import stat
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["expand_home"]


def expand_home(path: Path) -> Path:
    """Replace a leading ~ by the user's home directory.

    A container with an arbitrary user, cron and some CI systems have none. There the
    caches are in a directory of this user in the system's temporary directory.
    """
    try:
        return path.expanduser()
    except RuntimeError:  # neither HOME nor an entry of the user in the password database
        return _temporary_home().joinpath(*path.parts[1:])


@cache
def _temporary_home() -> Path:
    """Return a directory that only this user can write to."""
    home = Path(tempfile.gettempdir(), f"convscope-{os.getuid()}")
    home.mkdir(mode=0o700, exist_ok=True)
    found = home.stat(follow_symlinks=False)
    # Another user could have made it, to place a cached engine there.
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return home
    return Path(tempfile.mkdtemp(prefix="convscope-"))
