"""Checks before the first epoch that a network has one output per class, and returns logits."""

import torch
from torch import Tensor, nn

from convscope.exporter.architectures import Architecture
from convscope.exporter.conversion.ending import check_returns_logits
from convscope.exporter.conversion.trial_run import input_hint
from convscope.exporter.datasets import Dataset
from convscope.exporter.errors import NetworkError, reason
from convscope.exporter.preprocessing import ImagePreprocessing, InputRule

__all__ = ["check_outputs"]

_BATCH = 2


def check_outputs(row: Architecture, network: nn.Module, expects: InputRule, data: Dataset) -> None:
    """Run a batch of zeros, and compare the outputs with the dataset's classes.

    Raises:
        NetworkError: The network can't take its input, has another number of
            outputs than the dataset has classes, or ends in softmax or sigmoid.
    """
    shape = expects.shape
    if isinstance(expects, ImagePreprocessing):
        shape = (expects.channels, expects.height, expects.width)
    example = torch.zeros(_BATCH, *shape)
    try:
        with torch.no_grad():
            logits = network.eval()(example)
    except Exception as error:  # the user's code may raise anything
        raise NetworkError(
            f"{row.name} can't take {[_BATCH, *shape]}: {reason(error)}"
            + (input_hint(example.ndim) or "; --input declares the input of a network of your own")
        ) from error
    classes = len(data.labels)
    if isinstance(logits, Tensor) and logits.shape == (_BATCH, classes):
        check_returns_logits(network, example)
        return
    found = f"returns a {type(logits).__name__}"
    if isinstance(logits, Tensor):
        is_flat = logits.ndim == 2 and len(logits) == _BATCH
        shape = tuple(logits.shape)
        found = (
            f"has {shape[1]} outputs" if is_flat else f"returns {list(shape)} for {_BATCH} inputs"
        )
    fix = "choose a dataset with as many classes"
    if row.is_custom:
        fix = (
            "let the factory take num_classes, and return logits [N, num_classes] from the network"
        )
    raise NetworkError(f"{row.name} {found}, but {data.name} has {classes:,} classes; {fix}")
