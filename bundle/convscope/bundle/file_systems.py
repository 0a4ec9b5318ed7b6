"""Opens the file system behind a URL.

fsspec is imported when the first URL is opened, so that users of local
directories neither need it nor wait for it.
"""

from collections.abc import Iterable
from typing import Any

from convscope.bundle.addresses import check_single, secrets_of, without_secrets
from convscope.bundle.errors import AddressError, reason_of

__all__ = ["open_file_system", "reason_without"]


def open_file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Raises:
        AddressError: No file system is known for it, its package isn't installed,
            or it is a chain of several.
    """
    check_single(url)
    from fsspec import available_protocols  # type: ignore[import-untyped]
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    shown, protocol = without_secrets(url), url.partition("://")[0]
    if protocol not in available_protocols():
        raise AddressError(
            f"no file system is known for {protocol}:// in {shown}; use a directory, or a "
            "URL such as s3://BUCKET/models, gs://… or hf://…"
        )
    try:
        system, root = url_to_fs(url)
    except ImportError as error:
        raise AddressError(
            f"{shown} needs a package that isn't installed: {_missing(protocol, error)}"
        ) from error
    except Exception as error:  # each file system has its own errors, without a common class
        raise AddressError(
            f"{shown} can't be opened: {reason_without(secrets_of(url), error)}; check the address"
        ) from error
    return system, str(root).rstrip("/")


def reason_without(secrets: Iterable[str], error: Exception) -> str:
    """Return what an error says, in short and without the secrets of a URL."""
    text = reason_of(error)
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


def _missing(protocol: str, error: ImportError) -> str:
    """Name the package that brings a file system."""
    from fsspec.registry import known_implementations  # type: ignore[import-untyped]

    package = str(known_implementations[protocol]["class"]).partition(".")[0]
    # fsspec's own file systems name the package that they need.
    return reason_of(error) if package == "fsspec" else f"pip install {package}"
