"""How often each fault is repeated."""

import os

__all__ = ["rounds"]


def rounds(default: int) -> int:
    """Return how often to repeat a fault: CONVSCOPE_CHAOS_ROUNDS times, or else the default."""
    return int(os.environ.get("CONVSCOPE_CHAOS_ROUNDS", default))
