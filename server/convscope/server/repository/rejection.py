"""Why a version does not serve."""

from dataclasses import dataclass

__all__ = ["Rejection"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version that failed a check.

    Args:
        model: Its model.
        version: Its number.
        reason: The check, in one word that is also a metric label.
        message: What is wrong.
        transient: Whether the same files may pass later. Such a version is
            tried again after a pause, any other one when its files change.
    """

    model: str
    version: int
    reason: str
    message: str
    transient: bool = False
