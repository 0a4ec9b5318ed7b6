"""Cases by name, and what comes out of one."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from support.transports import Served

Outcome = dict[str, Any]
Case = Callable[[Served], Awaitable[Outcome]]

CANCEL = 8
# What a transport says of itself.
OWN_HEADERS = {"grpc-accept-encoding", "accept-encoding", "content-type", "date", "server"}


class Cases(dict[str, Case]):
    """Cases by name."""

    def add(self, name: str, function: Callable[..., Awaitable[Outcome]], *arguments: Any) -> None:
        """Add a case: a function of arguments and of what is served."""
        assert name not in self, f"two cases are called {name!r}"
        self[name] = partial(function, *arguments)
