"""The Ray cluster of a bulk run."""

import logging
import os
from typing import Any

import ray

from convscope.client import UnavailableError

__all__ = ["connect"]


def connect() -> None:
    """Connect to the cluster of RAY_ADDRESS, or start one that only this machine reaches.

    Raises:
        UnavailableError: There is no cluster, or Ray doesn't start.
    """
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {} if address else {"address": "local", "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises some that have no other class
        action = f"connect to RAY_ADDRESS={address}" if address else "start"
        raise UnavailableError(f"Ray can't {action}: {error}") from error
    # A run reports its own progress and the message of an error, without Ray's tracebacks.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
