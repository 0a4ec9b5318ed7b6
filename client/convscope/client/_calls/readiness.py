"""When to ask a server for its health until it is ready."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from convscope.client._inputs.checks import check_name, check_timeout
from convscope.client._results.server_info import Health
from convscope.client.errors import (
    DeadlineExceededError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)

__all__ = ["ReadyWait", "checked_model"]

_FIRST_PAUSE_SECONDS: Final = 0.05
_MAX_PAUSE_SECONDS: Final = 1.0
_MAX_CHECK_SECONDS: Final = 5.0
_MIN_CHECK_SECONDS: Final = 0.05
# A server that starts, that loads, or that doesn't have the model yet.
_TRANSIENT = UnavailableError, DeadlineExceededError, NotFoundError


@contextmanager
def checked_model(model: Any) -> Iterator[str]:
    """Yield the name of the service whose health is asked for, and explain an unknown one.

    Raises:
        InvalidInputError: The model isn't a `str`.
        NotFoundError: The server has no such model.
    """
    if model is not None:
        check_name("model", model)
    try:
        yield model or ""
    except NotFoundError as error:
        explained = NotFoundError(
            f"no model {model!r} is loaded; models() lists those that are ready"
        )
        explained.grpc_error = error.grpc_error
        raise explained from None


class ReadyWait:
    """Health checks until a server, or one of its models, is ready. It does no I/O.

    A driver makes a health check inside `attempt()`, passes its result to `record`, and sleeps
    for `pause_seconds()` as long as `is_ready` is false.

    Args:
        target: The server.
        model: The model; None for the whole server.
        timeout_seconds: How long the wait may take.

    Raises:
        InvalidInputError: The timeout isn't a positive number of seconds.
    """

    def __init__(self, target: str, model: str | None, timeout_seconds: Any) -> None:
        if isinstance(timeout_seconds, str):
            raise InvalidInputError(
                f"timeout_seconds is {timeout_seconds!r}; give a number of seconds, or name a "
                f"model with wait_ready(model={timeout_seconds!r})"
            )
        self._timeout_seconds = check_timeout(timeout_seconds, "timeout_seconds")
        self._awaited = target if model is None else f"the model {model!r} at {target}"
        self._deadline = time.monotonic() + self._timeout_seconds
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._reason = "no health check was made"
        self.is_ready = False

    @contextmanager
    def attempt(self) -> Iterator[float]:
        """Yield how long a health check may take, and keep the reason why it failed."""
        remaining = self._deadline - time.monotonic()
        try:
            yield max(_MIN_CHECK_SECONDS, min(_MAX_CHECK_SECONDS, remaining))
        except _TRANSIENT as error:
            self._reason = error.message

    def record(self, health: Health) -> None:
        """Keep the result of a health check."""
        self.is_ready = bool(health)
        self._reason = f"it reports that it is {health}"

    def pause_seconds(self) -> float:
        """Return how long to sleep before the next health check.

        Raises:
            DeadlineExceededError: The time is over.
        """
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceededError(
                f"{self._awaited} was not ready within {self._timeout_seconds:g} s; the last "
                f"health check failed: {self._reason}"
            )
        pause, self._pause_seconds = self._pause_seconds, self._pause_seconds * 1.5
        return min(pause, _MAX_PAUSE_SECONDS, remaining)
