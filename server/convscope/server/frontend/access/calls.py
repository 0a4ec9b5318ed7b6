"""What the services ask of access control: who calls, and what this caller may use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from convscope.server.observability.calls import Caller, CallRecord, current_call
from convscope.server.runtime.versions import LoadedVersion

if TYPE_CHECKING:
    from convscope.server.frontend.access.control import Admission

# A stream that waits for its rate looks as often whether the policy has changed.
MAX_PAUSE_SECONDS = 1.0

__all__ = [
    "admitted_messages",
    "caller_of",
    "check_model",
    "may_use",
    "permitted",
    "renewed_caller_of",
    "take_bytes",
]


def caller_of(context: Any) -> Caller | None:
    """Return who makes the call of a context; None for a server without a policy."""
    admission: Admission | None = getattr(context, "admission", None)
    return None if admission is None else admission.caller


def renewed_caller_of(context: Any) -> Caller | None:
    """Return who makes the call of a context, by the present time and policy.

    Raises:
        ServingError: The caller is no longer admitted.
    """
    admission: Admission | None = getattr(context, "admission", None)
    return None if admission is None else admission.renew().caller


def take_bytes(context: Any, size: int) -> None:
    """Count the bytes of the request of a unary call, unless everyone may make it.

    Raises:
        CallerLimitError: Its caller is over its bytes per second.
    """
    admission: Admission | None = getattr(context, "admission", None)
    if admission is not None and not admission.is_open:
        admission.caller.take_bytes(size)


async def admitted_messages(
    messages: AsyncIterator[bytes], context: Any, record: CallRecord
) -> AsyncIterator[bytes]:
    """Yield the messages of a stream, each of them when its caller is within its rates.

    The credentials are checked again for each message, because a token may have expired
    and the policy may have changed since the stream began.

    Raises:
        ServingError: The caller is no longer admitted.
    """
    admission: Admission | None = getattr(context, "admission", None)
    async for message in messages:
        if admission is not None:
            admission = admission.renew()
            while (seconds := admission.caller.wait_seconds()) > 0:
                await asyncio.sleep(min(seconds, MAX_PAUSE_SECONDS))
                admission = admission.renew()
            record.caller = admission.caller
            admission.caller.take_bytes(len(message))
        yield message


def check_model(model: str) -> None:
    """Check that the caller of the current call may use a model.

    Raises:
        PermissionDeniedError: It may not.
    """
    caller = current_call.get().caller
    if caller is not None:
        caller.check_model(model)


def may_use(model: str) -> bool:
    """Return whether the caller of the current call may use a model."""
    caller = current_call.get().caller
    return caller is None or caller.may_use(model)


def permitted(versions: Iterable[LoadedVersion]) -> Iterator[LoadedVersion]:
    """Return the versions of the models that the caller of the current call may use."""
    return (version for version in versions if may_use(version.key[0]))
