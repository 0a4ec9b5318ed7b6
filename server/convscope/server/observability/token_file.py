"""A file with the token of a listener, compared in constant time."""

import hmac
from contextlib import suppress
from pathlib import Path

__all__ = ["TokenFile"]

MIN_LENGTH = 16
_SCHEME = "bearer "


class TokenFile:
    """A token in a file, which is read again when the file changes.

    Args:
        path: The file.

    Raises:
        OSError: It can't be read.
        ValueError: It contains no token, or one that can be guessed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: tuple[int, int, int] | None = None
        self._token = b""
        self._update()

    def authorizes(self, authorization: str) -> bool:
        """Report whether the value of an Authorization header has the token."""
        with suppress(OSError, ValueError):  # while it is being replaced, the last token is valid
            self._update()
        is_bearer = authorization[: len(_SCHEME)].lower() == _SCHEME
        shown = authorization[len(_SCHEME) :].strip().encode("latin-1", "replace")
        return is_bearer & hmac.compare_digest(shown, self._token)

    def _update(self) -> None:
        found = self._path.stat()
        state = (found.st_mtime_ns, found.st_size, found.st_ino)
        if state == self._state:
            return
        token = self._path.read_bytes().strip()
        if len(token) < MIN_LENGTH:
            raise ValueError(f"the token must have at least {MIN_LENGTH} characters")
        self._token, self._state = token, state
