"""Files that are followed."""

from pathlib import Path

__all__ = ["FileState", "file_state"]

FileState = tuple[int, int, int] | None


def file_state(path: Path) -> FileState:
    """Return what changes when a file does; None if it can't be read."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
