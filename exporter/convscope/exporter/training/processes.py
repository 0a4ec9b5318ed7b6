"""Distinguishes the process that the user started from those that Lightning starts."""

import os

__all__ = ["RUN_VARIABLE", "is_first_process"]

# Passes the run's directory to the processes that Lightning starts.
RUN_VARIABLE = "CONVSCOPE_TRAINING_RUN"


def is_first_process() -> bool:
    """Return whether the user, and not Lightning, started this process."""
    return RUN_VARIABLE not in os.environ
