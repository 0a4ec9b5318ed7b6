"""Where the token of a client comes from: a string, a callable or a file. None is ever shown."""

import base64
import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from time import time
from typing import Any, Protocol, TypeAlias

from convscope.client.errors import InvalidInputError, UnauthenticatedError

__all__ = ["CallableToken", "FileToken", "FixedToken", "Token", "TokenSource"]

Token: TypeAlias = str | Callable[[], str]
"""A token, or a function without arguments that returns one and may block."""

# RFC 6750, section 2.1.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_MAX_FILE_BYTES = 64 * 1024
# A JWT is replaced before it expires: in this time a call arrives, also with clocks that differ.
_MARGIN_SECONDS = 30.0
_MARGIN_SHARE = 0.1


class TokenSource(Protocol):
    """Returns the token of each call. It may be used from several threads."""

    def cached(self) -> str | None:
        """Return the token if that takes no time; None if `get` must be called."""

    def get(self) -> str:
        """Return the token, which may block.

        Raises:
            UnauthenticatedError: There is no token.
        """

    def renew(self, rejected: str) -> bool:
        """Report whether there is another token than one that a server rejected; may block.

        Raises:
            UnauthenticatedError: There is no token.
        """


class FixedToken:
    """A token that never changes.

    Raises:
        InvalidInputError: It can't be sent.
    """

    def __init__(self, token: str) -> None:
        self._token = token.strip()
        if problem := _problem(self._token):
            raise InvalidInputError(f"the token {problem}")

    def cached(self) -> str:
        """Return the token."""
        return self._token

    get = cached

    def renew(self, rejected: str) -> bool:
        """Report that there is no other token."""
        return False


class FileToken:
    """A token in a file, which is read again when the file changes.

    Raises:
        InvalidInputError: The file can't be read, or contains no token.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: tuple[int, int, int] | None = None
        self._token = ""
        self._lock = Lock()
        try:
            self._update()
        except OSError as error:
            raise InvalidInputError(
                f"token_file {str(path)!r} can't be read: {error.strerror}"
            ) from error
        except ValueError as error:
            raise InvalidInputError(f"token_file {str(path)!r}: the token {error}") from error

    def cached(self) -> str:
        """Return the token that the file contains now, or its last one while it is unusable."""
        with suppress(OSError, ValueError):  # it is being replaced
            self._update()
        return self._token

    get = cached

    def renew(self, rejected: str) -> bool:
        """Report whether the file contains another token."""
        self._state = None
        return self.cached() != rejected

    def _update(self) -> None:
        """Read the file if it has changed.

        Raises:
            OSError: It can't be read.
            ValueError: It contains no token.
        """
        found = self._path.stat()
        state = (found.st_mtime_ns, found.st_size, found.st_ino)
        if state == self._state:
            return
        with self._path.open("rb") as file:
            token = file.read(_MAX_FILE_BYTES).decode("latin-1").strip()
        if problem := _problem(token):
            raise ValueError(problem)
        with self._lock:
            self._token, self._state = token, state


class CallableToken:
    """A token that a function returns.

    It is called for the first call, before a JWT expires, and when a server rejects the token.
    """

    def __init__(self, function: Callable[[], str]) -> None:
        self._function = function
        self._token = ""
        self._stale_at = 0.0
        self._lock = Lock()

    def cached(self) -> str | None:
        """Return the last token if it hasn't expired."""
        return self._token if time() < self._stale_at else None

    def get(self) -> str:
        """Return the last token, or a new one if it has expired."""
        with self._lock:
            if time() >= self._stale_at:
                self._obtain()
            return self._token

    def renew(self, rejected: str) -> bool:
        """Report whether there is another token, after asking the function for one."""
        with self._lock:
            if self._token == rejected:
                self._obtain()
            return self._token != rejected

    def _obtain(self) -> None:
        try:
            token = self._function()
        except Exception as error:
            raise UnauthenticatedError(
                f"the function for the token failed with {type(error).__name__}"
            ) from error
        token = token.strip() if isinstance(token, str) else ""
        if problem := _problem(token):
            raise UnauthenticatedError(f"the token that the function returned {problem}")
        self._token, self._stale_at = token, _stale_at(token)


def _problem(token: str) -> str:
    """Return what is wrong with a token, without showing it; empty if nothing is."""
    if not token:
        return "is empty"
    if token.lower().startswith("bearer "):
        return 'starts with "Bearer", which is added; give only what follows it'
    if not _TOKEN.fullmatch(token):
        return "has characters that no token has; give letters, digits and ._~+/-="
    return ""


def _stale_at(token: str) -> float:
    """Return when a token should be replaced; never, unless it is a JWT that expires."""
    expires_at = _claims(token).get("exp")
    if not isinstance(expires_at, int | float):
        return float("inf")
    try:
        remaining = expires_at - time()
    except OverflowError:  # a number of hundreds of digits
        return float("inf")
    return expires_at - min(_MARGIN_SECONDS, _MARGIN_SHARE * max(0.0, remaining))


def _claims(token: str) -> dict[str, Any]:
    """Return the claims of a JWT, which only its server verifies; empty for other tokens."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
