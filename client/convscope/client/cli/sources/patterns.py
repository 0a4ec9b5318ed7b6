"""Quoted patterns such as 'photos/**/*.jpg'."""

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from functools import cache

from convscope.client.cli.sources.walk import Found, Names, walk

__all__ = ["find_pattern", "fixed_folder", "is_pattern"]

_MAGIC = re.compile(r"[*?[]")
ANY_FOLDERS = "**"


def is_pattern(path: str) -> bool:
    """Report whether a path contains *, ? or [."""
    return _MAGIC.search(path) is not None


def fixed_folder(pattern: str) -> str:
    """Return the folder before the first part with *, ? or [; empty for the current one."""
    parts = pattern.split("/")
    fixed = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    return "/".join(parts[:fixed]) or ("/" if fixed else "")


def find_pattern(pattern: str, left_out: str | None = None) -> Iterator[Found]:
    """Yield the files that a pattern matches, as a shell does.

    `**` matches any number of folders. A name that starts with a dot matches only a part
    that starts with one.

    Args:
        pattern: The pattern.
        left_out: The real path of a folder that is not entered.
    """
    base, parts = fixed_folder(pattern), pattern.split("/")
    fixed = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    parts = [part for part in parts[fixed:] if part]
    if parts[-1] == ANY_FOLDERS:
        parts.append("*")
    if not os.path.isdir(base or os.curdir):  # noqa: PTH112
        return
    found = walk(
        base,
        is_hidden=lambda names: False,
        may_enter=lambda names: _matches(names, parts, is_start=True),
        each_folder_once=ANY_FOLDERS in parts,
        left_out=left_out,
    )
    for file in found:
        if file.error is not None and not _is_match(file, parts):
            continue
        if file.error is not None or _matches(file.names, parts):
            yield file


def _is_match(failed: Found, parts: Sequence[str]) -> bool:
    """Report whether a folder that can't be read, or a broken link, is part of the pattern."""
    return _matches(failed.names, parts) or os.path.isdir(failed.path)  # noqa: PTH112


def _matches(names: Names, parts: Sequence[str], *, is_start: bool = False) -> bool:
    """Report whether names match a pattern, or could be the folders at the start of a match."""
    if not names:
        return is_start or not parts
    if not parts:
        return False
    name, part = names[0], parts[0]
    if part == ANY_FOLDERS:
        if _matches(names, parts[1:], is_start=is_start):
            return True
        return not name.startswith(".") and _matches(names[1:], parts, is_start=is_start)
    return _matches_name(name, part) and _matches(names[1:], parts[1:], is_start=is_start)


def _matches_name(name: str, part: str) -> bool:
    if name.startswith(".") and not part.startswith("."):
        return False
    return _regex(part).match(name) is not None


@cache
def _regex(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(part))
