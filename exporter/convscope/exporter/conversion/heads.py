"""Computes logits and probabilities from a network's final output, in PyTorch."""

import torch
from torch import Tensor

from convscope.exporter.outputs.semantics import ALMOST_ONE, TINY, Semantics

__all__ = ["add_heads"]


def add_heads(
    output: Tensor, semantics: Semantics | None, argument: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the logits and probabilities, each [N, K].

    Args:
        output: The network's final output, [N, K], or [N] of a binary classifier.
        semantics: What it contains; None for the logits of a softmax.
        argument: The argument of the network's final activation, if it is known. The logits
            are then this argument. Otherwise they are computed from the output, and have no
            gradient where a probability is rounded to 1.
    """
    output = _as_rows(output)
    if argument is not None and semantics is not None:
        return _from_argument(_as_rows(argument), output, semantics)
    if semantics is None:
        return output, output.softmax(dim=1)
    if semantics.is_binary:
        return _binary(output, semantics)
    if semantics.form == "log-probabilities":
        return output, output.exp()
    if semantics.form == "logits":
        is_sigmoid = semantics.activation == "sigmoid"
        return output, output.sigmoid() if is_sigmoid else output.softmax(dim=1)
    logits = output.clamp(min=float(TINY)).log()
    if semantics.activation == "sigmoid":
        logits = logits - (1 - output.clamp(max=float(ALMOST_ONE))).log()
    return logits, output


def _as_rows(values: Tensor) -> Tensor:
    """Return float32 [N, K] of [N, K], [N], or [N, K, 1, 1]."""
    rows = values.unsqueeze(1) if values.ndim == 1 else values.flatten(1)
    return rows.float()


def _from_argument(argument: Tensor, output: Tensor, semantics: Semantics) -> tuple[Tensor, Tensor]:
    if semantics.form == "log-probabilities":
        return argument, output.exp()
    if semantics.is_binary:
        return _of_both(argument), torch.cat([1 - output, output], dim=1)
    return argument, output


def _of_both(logit: Tensor) -> Tensor:
    """Turn the logit z of a binary classifier into those of its classes, [-z/2, z/2].

    Both classes have heat then.
    """
    return logit * torch.tensor([[-0.5, 0.5]])


def _binary(output: Tensor, semantics: Semantics) -> tuple[Tensor, Tensor]:
    """Turn one number per image, [N, 1], into two classes, [N, 2]."""
    if semantics.form == "logits":
        logits = _of_both(output)
        return logits, logits.softmax(dim=1)
    probabilities = torch.cat([1 - output, output], dim=1)
    return probabilities.clamp(min=float(TINY)).log(), probabilities
