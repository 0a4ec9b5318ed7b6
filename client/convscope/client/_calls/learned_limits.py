"""The limits of a server, asked for when an image may exceed them."""

import logging
import math
import time
from collections.abc import Callable
from threading import Lock
from typing import TypeAlias

from convscope.client._inputs.checks import CheckedMetadata
from convscope.client._results.server_info import ServerLimits
from convscope.client.errors import ConvscopeError, PermissionDeniedError

__all__ = ["ASK_SECONDS", "AskLimits", "LearnedLimits"]

AskLimits: TypeAlias = Callable[[CheckedMetadata], ServerLimits]
"""Asks the server for its limits, and blocks."""

log = logging.getLogger("convscope.client")

# How long a client asks at most: the image is sent in any case.
ASK_SECONDS = 5.0
_DEFAULT = ServerLimits()
# After a failure, such as that of a server that restarts.
_PAUSE_SECONDS = 60.0


class LearnedLimits:
    """The limits of a server. Safe to use from several threads.

    Args:
        ask: Asks the server for them.
    """

    def __init__(self, ask: AskLimits) -> None:
        self._ask = ask
        self._lock = Lock()
        self._limits = _DEFAULT
        self._expires_at = -math.inf

    @property
    def known(self) -> ServerLimits | None:
        """The limits; None if the server must be asked."""
        return self._limits if time.monotonic() < self._expires_at else None

    @property
    def are_final(self) -> bool:
        """Whether the server is never asked again."""
        return self._expires_at == math.inf

    def learn(self, metadata: CheckedMetadata) -> ServerLimits:
        """Return the limits; the server is asked if they aren't known.

        Without a reply, they are those of a server without flags.
        """
        with self._lock:
            if (known := self.known) is None:
                known = self._learn(metadata)
            return known

    def _learn(self, metadata: CheckedMetadata) -> ServerLimits:
        expires_at = math.inf
        try:
            self._limits = self._ask(metadata)
        except PermissionDeniedError:  # a caller may be allowed to classify only
            pass
        except ConvscopeError as error:
            log.debug("the limits of the server are unknown: %s", error)
            expires_at = time.monotonic() + _PAUSE_SECONDS
        self._expires_at = expires_at
        return self._limits
