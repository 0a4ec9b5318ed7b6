"""What a call is called in the log: as its caller says, or else by a number of ours."""

import secrets
from collections.abc import Iterable
from itertools import count

__all__ = ["REQUEST_ID", "RequestIds"]

REQUEST_ID = "x-request-id"
MAX_LENGTH = 128


class RequestIds:
    """Gives each call its id. Ours begin with a prefix that no other process has."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6)
        self._count = count(1)

    def of(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> tuple[str, bool]:
        """Give the id of a call, and whether it is the caller's own.

        An id that is too long for a line of the log, or not of printable ASCII,
        is passed over.

        Args:
            metadata: What the caller sent with the call.
        """
        for key, value in metadata or ():
            if key == REQUEST_ID and isinstance(value, str) and _is_sane(value):
                return value, True
        return f"{self._prefix}-{next(self._count)}", False


def _is_sane(request_id: str) -> bool:
    return 0 < len(request_id) <= MAX_LENGTH and request_id.isascii() and request_id.isprintable()
