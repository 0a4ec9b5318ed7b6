"""Distinguishes the processes of a run: which of them publishes, and who started them."""

import os

__all__ = ["RUN_VARIABLE", "is_first_of_machine", "is_first_process", "is_under_torchrun"]

# Passes the run's directory to the processes that Lightning starts.
RUN_VARIABLE = "CONVSCOPE_TRAINING_RUN"


def is_first_process() -> bool:
    """Return whether this is process 0 of the run, which reports and publishes."""
    rank = "RANK" if is_under_torchrun() else "NODE_RANK"
    return is_first_of_machine() and os.environ.get(rank, "0") == "0"


def is_first_of_machine() -> bool:
    """Return whether this process is the first one on its machine."""
    if is_under_torchrun():
        return os.environ["LOCAL_RANK"] == "0"
    return RUN_VARIABLE not in os.environ


def is_under_torchrun() -> bool:
    """Return whether torchrun started this process, and not the user or Lightning."""
    return "TORCHELASTIC_RUN_ID" in os.environ
