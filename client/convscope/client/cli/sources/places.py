"""Where the pictures of an image go, below the folder for pictures."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from urllib.parse import unquote, urlsplit

__all__ = ["normal_name", "numbered", "path_place", "short_places", "url_place"]

MAX_PART = 100  # of a URL
_UNSAFE = re.compile(r"[^\w.-]+")


def normal_name(name: str) -> str:
    """Return the same name for all spellings of a path, such as photo.jpg and ./photo.jpg."""
    return name if "://" in name else os.path.normpath(name)


def path_place(path: str) -> str:
    """Return the whole path of a file as a place below a folder."""
    path = os.path.splitdrive(os.path.normpath(path))[1].replace(os.sep, "/")
    return "/".join("_" if part == ".." else part for part in path.split("/") if part)


def url_place(url: str) -> str:
    """Return the host and the path of a URL as a place below a folder."""
    parts = urlsplit(url)
    *hosts_and_folders, name = map(
        _safe, [parts.netloc, *unquote(parts.path).rstrip("/").split("/")]
    )
    if parts.query:  # two photos may differ only in it
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - it is no path
        digest = blake2b(parts.query.encode("utf-8", "replace"), digest_size=4).hexdigest()
        name = f"{stem or 'image'}-{digest}{suffix}"
    return "/".join(filter(None, [*hosts_and_folders, name or "image"]))


def numbered(place: str, number: int) -> str:
    """Return a place with a number before its suffix, such as a/p-2.jpg."""
    stem, suffix = os.path.splitext(place)  # noqa: PTH122 - it is no path
    return f"{stem}-{number}{suffix}"


def short_places(places: Iterable[str]) -> dict[str, str]:
    """Return for each place its shortest end that no other place has."""
    depths = dict.fromkeys(places, 1)
    while True:
        short = {place: _end(place, depth) for place, depth in depths.items()}
        counts = Counter(short.values())
        longer = [place for place, end in short.items() if counts[end] > 1 and end != place]
        if not longer:
            return short
        for place in longer:
            depths[place] += 1


def _end(place: str, parts: int) -> str:
    return "/".join(place.split("/")[-parts:])


def _safe(part: str) -> str:
    stem, suffix = os.path.splitext(_UNSAFE.sub("_", part))  # noqa: PTH122 - it is no path
    return "_" if part == ".." else f"{stem[:MAX_PART]}{suffix[:MAX_PART]}".lstrip(".")
