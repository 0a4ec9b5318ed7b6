"""How often a call is tried again, and when."""

import math
from dataclasses import dataclass
from typing import Any, Final

from convscope.client._inputs.checks import check_integer
from convscope.client.errors import InvalidInputError

__all__ = ["DEFAULT_RETRIES", "Retries", "to_retries"]

# gRPC allows five attempts in all.
_MAX_ATTEMPTS: Final = 4


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is tried again while the server is busy or unavailable.

    The pauses are random up to a bound, which grows with each attempt. A busy server may state
    its own. All attempts end at the deadline of the call.

    Args:
        attempts: How often a call is tried again, from 0 to 4; 0 turns retries off.
        initial_seconds: The bound of the first pause.
        max_seconds: The largest bound.
        multiplier: How much the bound grows with each attempt.

    Raises:
        InvalidInputError: A value is out of range.

    Example:
        >>> client = Client("localhost:8001", retries=Retries(attempts=4, max_seconds=5))
        >>> client = Client("localhost:8001", retries=0)
    """

    attempts: int = 2
    initial_seconds: float = 0.1
    max_seconds: float = 1.0
    multiplier: float = 2.0

    def __post_init__(self) -> None:
        check_integer("attempts", self.attempts, 0, _MAX_ATTEMPTS)
        for name in ("initial_seconds", "max_seconds", "multiplier"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (is_number and math.isfinite(value) and value > 0):
                raise InvalidInputError(f"{name} is {value!r}; give a positive, finite number")

    def policy(self) -> dict[str, Any]:
        """Return the method's part of a service config; empty without retries.

        Example:
            >>> Retries(attempts=3).policy()["retryPolicy"]["maxAttempts"]
            4
        """
        if not self.attempts:
            return {}
        return {
            "retryPolicy": {
                "maxAttempts": 1 + self.attempts,
                "initialBackoff": f"{self.initial_seconds:.9f}s",
                "maxBackoff": f"{self.max_seconds:.9f}s",
                "backoffMultiplier": self.multiplier,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            }
        }


DEFAULT_RETRIES: Final = Retries()


def to_retries(retries: Any) -> Retries:
    """Return the retries that an argument describes: an instance, or only their number.

    Raises:
        InvalidInputError: It is neither.
    """
    if isinstance(retries, Retries):
        return retries
    if isinstance(retries, bool):
        raise InvalidInputError(f"retries is {retries}; give their number, or a Retries")
    return Retries(check_integer("retries", retries, 0, _MAX_ATTEMPTS))
