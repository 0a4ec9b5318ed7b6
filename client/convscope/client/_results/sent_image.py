"""What a call remembers of the images that it sent."""

from dataclasses import dataclass
from typing import TypeAlias

from convscope.client._results.source import Source

__all__ = ["CallFacts", "SentImage"]

Size: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class SentImage:
    """One image of a request.

    Args:
        name: Its name; empty if it has none.
        source: The image itself, if the result keeps it.
        size: If it was sent at another size, the width and height of the upright image.
        sent_size: In that case, the width and height that were sent.
    """

    name: str = ""
    source: Source | None = None
    size: Size | None = None
    sent_size: Size | None = None


@dataclass(frozen=True, slots=True)
class CallFacts:
    """A request as a whole.

    Args:
        request_id: Its id in the server's log.
        seconds: The time from sending it to its reply.
        has_arrays: Whether its reply may have feature maps, explanations and crops.
    """

    request_id: str = ""
    seconds: float = 0.0
    has_arrays: bool = True
