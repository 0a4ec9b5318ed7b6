"""Compares the labels with the classes that a user's factory returns by default."""

from torch import Tensor

from convscope.exporter.architectures import Architecture
from convscope.exporter.conversion.trial_run import TRIAL_BATCH, run_zeros
from convscope.exporter.errors import NetworkError
from convscope.exporter.outputs.semantics import class_count
from convscope.exporter.preprocessing import InputRule

__all__ = ["check_default_classes"]


def check_default_classes(row: Architecture, expects: InputRule, labels: int) -> None:
    """Check that a factory which loads weights isn't called for other classes than it has.

    Called with another num_classes, it may return a new last layer with random weights.

    Raises:
        NetworkError: Without num_classes, its network has other classes.
    """
    if not row.has_default_classes:
        return
    try:
        output = run_zeros(row.build(0, expects.channels), expects)
    except NetworkError:
        return  # the factory needs num_classes, for example because its weights have others
    if not isinstance(output, Tensor) or len(output) != TRIAL_BATCH:
        return  # another check explains it
    own = class_count(output.numel() // TRIAL_BATCH)
    if own != labels:
        raise NetworkError(
            f"{row.name} has {own:,} classes by default, but there are {labels:,} labels; called "
            f"with num_classes={labels}, its last layer may have random weights: pass {own} "
            "labels, the weights with --weights FILE, or --random-weights to try out serving"
        )
