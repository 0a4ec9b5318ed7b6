"""How large a reply may become: known before anything is computed for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from convscope.server.errors import InvalidInputError

__all__ = ["MANY_CLASSES", "ReplyLimits", "label_bytes"]

# To write more classes than these would keep the event loop from others for too long.
MANY_CLASSES = 10_000


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """What a reply may take.

    Args:
        max_bytes: All of it.
        max_feature_map_bytes: Its feature maps.
    """

    max_bytes: int
    max_feature_map_bytes: int

    def check(self, size_bytes: int) -> None:
        """Check the size that a reply may come to.

        Raises:
            InvalidInputError: It is above the limit.
        """
        if size_bytes > self.max_bytes:
            raise InvalidInputError(
                f"the reply could take {size_bytes:,} bytes; at most {self.max_bytes:,} are sent; "
                "ask for fewer inputs or fewer classes"
            )


def label_bytes(labels: Sequence[str]) -> tuple[int, ...]:
    """Give the most bytes that the names of no class, of one, of two and so on can take."""
    sizes = sorted((len(label.encode()) for label in labels), reverse=True)
    return tuple(accumulate(sizes, initial=0))
