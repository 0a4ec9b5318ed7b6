"""How often each fault is repeated: a few times by default, CONVSCOPE_CHAOS_ROUNDS times else."""

import os

__all__ = ["rounds"]


def rounds(default: int) -> int:
    """Return how often to repeat a fault."""
    return int(os.environ.get("CONVSCOPE_CHAOS_ROUNDS", default))
