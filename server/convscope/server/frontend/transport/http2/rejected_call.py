"""Requests that are no call of a method."""

from collections.abc import Sequence

from convscope.server.frontend.transport.http2.messages import RawMessage
from convscope.server.frontend.transport.http2.stream import Stream

__all__ = ["RejectedCall"]


class RejectedCall(Stream):
    """A request whose headers are answered with an error; what follows is dropped."""

    __slots__ = ()

    @property
    def is_begun(self) -> bool:
        """Whether a handler has it."""
        return False

    def take_messages(self, messages: Sequence[RawMessage]) -> None:
        """Drop messages."""

    def take_end(self) -> None:
        """Drop the end."""

    def cancelled(self) -> None:
        """Do nothing."""
