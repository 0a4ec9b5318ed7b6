"""Limits the size of a reply, which is known before anything is computed."""

from dataclasses import dataclass

from convscope.server.errors import InvalidInputError

__all__ = ["MANY_CLASSES", "ExplanationLimits", "ReplyLimits"]

# Writing more classes than this would block the event loop for too long.
MANY_CLASSES = 10_000


@dataclass(frozen=True, slots=True)
class ExplanationLimits:
    """What the explanations of one request may take.

    Args:
        max_explanations: Their number.
        max_occluded_images: The images with a square that they run.
    """

    max_explanations: int = 8
    max_occluded_images: int = 256


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """The largest size of a reply.

    Args:
        max_bytes: The limit of the whole reply.
        max_feature_map_bytes: The limit of its feature maps.
        explanations: The limits of its explanations.
    """

    max_bytes: int
    max_feature_map_bytes: int
    explanations: ExplanationLimits = ExplanationLimits()

    def check(self, size_bytes: int) -> None:
        """Check the largest size that a reply could have.

        Raises:
            InvalidInputError: It exceeds the limit.
        """
        if size_bytes > self.max_bytes:
            raise InvalidInputError(
                f"the reply could take {size_bytes:,} bytes; at most {self.max_bytes:,} are sent; "
                "ask for fewer inputs or fewer classes"
            )
