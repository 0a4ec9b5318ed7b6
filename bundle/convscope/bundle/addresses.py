"""Addresses of repositories: paths, and URLs with or without secrets."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from convscope.bundle.errors import AddressError

__all__ = ["check_single", "local_path", "secrets_of", "without_secrets"]

# Between the URLs of a chain, which fsspec would stack.
_CHAIN = "::"
_FILE_SCHEMES = ("file://", "local://")


def local_path(location: str) -> Path | None:
    """Return the directory that a location names; None for a URL of another machine."""
    for scheme in _FILE_SCHEMES:
        if location.startswith(scheme) and _CHAIN not in location:
            return Path(location.removeprefix(scheme))
    return None if "://" in location else Path(location)


def check_single(url: str) -> None:
    """Check that a URL isn't a chain of several.

    Raises:
        AddressError: It is. Secrets may be anywhere in a chain, so the message has none of it.
    """
    if _CHAIN in url:
        raise AddressError(
            f"the repository is a chain of URLs, joined by {_CHAIN!r}; only a single URL is "
            "allowed: that of the folder that holds the models, such as s3://BUCKET/models"
        )


def without_secrets(url: str) -> str:
    """Return a URL without what may be secret: user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}".rstrip("/")


def secrets_of(url: str) -> list[str]:
    """Return what may be secret in a URL, as written and as decoded."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    password = user.partition(":")[2]
    written = (user, password, parts.query, parts.fragment)
    return [secret for secret in (*written, *map(unquote, written)) if secret]
