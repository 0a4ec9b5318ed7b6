"""Metrics that the ordinary test server doesn't have, and why; so their panels stay empty there.

A name here stands for every expression that contains it. One that does give
data must go from this list: a test sees to it.
"""

__all__ = ["AWAITED", "is_awaited"]

AWAITED = {
    "convscope_provider_fallback": "comes with the providers' fallback",
    "convscope_repository_last_sync_timestamp_seconds": "needs a remote repository",
    "convscope_repository_sync_failures_total": "needs a remote repository",
}


def is_awaited(expression: str) -> bool:
    """Whether an expression can't give data here yet."""
    return any(metric in expression for metric in AWAITED)
