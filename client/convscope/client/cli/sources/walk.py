"""The files below a folder, found lazily: a folder may have a million of them."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import PurePath

from convscope.client.errors import InvalidInputError

__all__ = ["Found", "walk"]

# A folder of more entries is read in the order of the file system.
MAX_SORTED = 10_000

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A file below a folder, or an error in its place.

    Args:
        path: Its path.
        names: The parts of its path below the folder.
        error: Why it, or a folder, can't be read.
    """

    path: str
    names: Names
    error: InvalidInputError | None = None


def walk(
    root: str,
    *,
    is_hidden: Callable[[Names], bool],
    may_enter: Callable[[Names], bool] = lambda names: True,
    each_folder_once: bool = True,
    left_out: str | None = None,
) -> Iterator[Found]:
    """Yield the files below a folder, in the order of their names.

    Links are followed. A folder that has several names, or contains a link to itself, is
    entered once.

    Args:
        root: The folder.
        is_hidden: Whether an entry is left out.
        may_enter: Whether a folder is entered.
        each_folder_once: Whether links to folders that are found anyway are left out.
        left_out: The real path of a folder that is not entered.
    """
    walked = _Walk(root or os.curdir, is_hidden, may_enter, each_folder_once, left_out)
    start: Names = ()
    open_folders = [(root, start, walked.entries(root, start))]
    while open_folders:
        folder, names, entries = open_folders[-1]
        entry = next(entries, None)
        if entry is None:
            open_folders.pop()
        elif isinstance(entry, Found):
            yield entry
        else:
            path, inner = _join(folder, entry), (*names, entry.name)
            open_folders.append((path, inner, walked.entries(path, inner)))


class _Walk:
    def __init__(
        self,
        root: str,
        is_hidden: Callable[[Names], bool],
        may_enter: Callable[[Names], bool],
        each_folder_once: bool,
        left_out: str | None,
    ) -> None:
        self._real_root = os.path.realpath(root)
        self._is_hidden = is_hidden
        self._may_enter = may_enter
        self._each_folder_once = each_folder_once
        self._left_out = left_out
        self._entered: set[tuple[int, int]] = set()

    def entries(self, folder: str, names: Names) -> Iterator["Found | os.DirEntry[str]"]:
        """Yield the files of a folder, and the folders in it that are to be entered."""
        try:
            if not self._is_new(folder):
                return
            for entry in _listing(folder or os.curdir):
                inner = (*names, entry.name)
                if not self._is_hidden(inner):
                    yield from self._entry(entry, _join(folder, entry), inner)
        except OSError as error:
            reason = f"the folder {folder!r} can't be read: {error.strerror}"
            yield Found(folder, names, InvalidInputError(reason))

    def _entry(
        self, entry: os.DirEntry[str], path: str, names: Names
    ) -> Iterator["Found | os.DirEntry[str]"]:
        if entry.is_file(follow_symlinks=False):
            yield Found(path, names)
            return
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            yield Found(path, names, _link_error(path, error))
            return
        if stat.S_ISREG(mode):
            yield Found(path, names)
        elif stat.S_ISDIR(mode) and self._may_enter(names) and not self._is_found_anyway(entry):
            yield entry

    def _is_new(self, folder: str) -> bool:
        """Report whether a folder is entered for the first time, and remember it."""
        if self._left_out is not None and os.path.realpath(folder) == self._left_out:
            return False
        if not self._each_folder_once:
            return True
        status = os.stat(folder or os.curdir)  # noqa: PTH116
        known = (status.st_dev, status.st_ino)
        is_new = known not in self._entered
        self._entered.add(known)
        return is_new

    def _is_found_anyway(self, entry: os.DirEntry[str]) -> bool:
        """Report whether an entry is a link to a folder that the walk finds without it."""
        if not self._each_folder_once or not entry.is_symlink():
            return False
        inner = os.path.relpath(os.path.realpath(entry.path), self._real_root)
        return not any(name.startswith(".") for name in PurePath(inner).parts)


def _join(folder: str, entry: os.DirEntry[str]) -> str:
    return os.path.join(folder, entry.name)  # noqa: PTH118 - for a million files


def _listing(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        first = list(islice(entries, MAX_SORTED + 1))
        if len(first) <= MAX_SORTED:
            first.sort(key=lambda entry: entry.name)
        yield from chain(first, entries)


def _link_error(path: str, error: OSError) -> InvalidInputError:
    if isinstance(error, FileNotFoundError):
        return InvalidInputError(f"the link {path!r} points to a file that does not exist")
    return InvalidInputError(f"{path!r} can't be read: {error.strerror}")
