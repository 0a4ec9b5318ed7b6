"""The id of a call in the log: the caller's own, or else one of ours."""

import secrets
from collections.abc import Iterable
from itertools import count

__all__ = ["REQUEST_ID", "RequestIds"]

REQUEST_ID = "x-request-id"
MAX_LENGTH = 128


class RequestIds:
    """Assigns each call its id. Ours begin with a prefix that no other process has."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6)
        self._count = count(1)

    def of(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> tuple[str, bool]:
        """Return the id of a call, and whether it is the caller's own.

        An id that is too long for a log line, or has other characters than
        printable ASCII, is ignored.

        Args:
            metadata: What the caller sent with the call.
        """
        for key, value in metadata or ():
            if key == REQUEST_ID and isinstance(value, str) and _is_sane(value):
                return value, True
        return f"{self._prefix}-{next(self._count)}", False


def _is_sane(request_id: str) -> bool:
    return 0 < len(request_id) <= MAX_LENGTH and request_id.isascii() and request_id.isprintable()
