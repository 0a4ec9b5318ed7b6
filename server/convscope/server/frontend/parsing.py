"""Parses the messages of all methods."""

from collections.abc import Callable
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError

from convscope.server.errors import InvalidInputError, OutOfMemoryError, ServingError
from convscope.server.observability.out_of_memory import has_memory, is_out_of_memory

__all__ = ["Parse", "parse_or_abort", "parser"]

Parse: TypeAlias = Callable[[bytes], Any]


def parser(deserialize: Parse | None, max_bytes: int) -> Parse:
    """Return a function that parses a message, or raises an error of ours.

    The libraries would answer a message that can't be parsed with UNKNOWN and the text of a
    Python exception.

    Args:
        deserialize: Parses it; None leaves it as bytes.
        max_bytes: The size of the largest message.
    """

    def parse(data: bytes) -> Any:
        if len(data) > max_bytes:
            raise InvalidInputError(
                f"the request has {len(data):,} bytes; at most {max_bytes:,} are accepted; "
                "use fewer or smaller images"
            )
        if deserialize is None:
            return data
        try:
            return deserialize(data)
        except DecodeError as error:
            if is_out_of_memory(error) or not has_memory(len(data)):
                raise OutOfMemoryError("for the message") from error
            raise InvalidInputError(
                f"the request's {len(data):,} bytes can't be parsed as the method's message"
            ) from error

    return parse


async def parse_or_abort(parse: Parse, data: bytes, context: Any) -> Any:
    """Return a parsed message; abort the call if it can't be parsed.

    Args:
        parse: Parses it.
        data: The message.
        context: The context of the call, of either transport.
    """
    try:
        return parse(data)
    except ServingError as error:
        await context.abort(error.code, error.message)
