"""Computes logits and probabilities from a network's final output, in PyTorch."""

import torch
from torch import Tensor

from convscope.exporter.outputs.semantics import ALMOST_ONE, TINY, Semantics

__all__ = ["add_heads"]


def add_heads(output: Tensor, semantics: Semantics | None) -> tuple[Tensor, Tensor]:
    """Return the logits and probabilities, each [N, K].

    Args:
        output: The network's final output, [N, K], or [N] of a binary classifier.
        semantics: What it contains; None for the logits of a softmax.
    """
    output = output.unsqueeze(1) if output.ndim == 1 else output
    output = output.float()
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


def _binary(output: Tensor, semantics: Semantics) -> tuple[Tensor, Tensor]:
    """Turn one number per image, [N, 1], into two classes, [N, 2]."""
    if semantics.form == "logits":
        logits = output * torch.tensor([[-0.5, 0.5]])  # so that both classes have heat
        return logits, logits.softmax(dim=1)
    probabilities = torch.cat([1 - output, output], dim=1)
    return probabilities.clamp(min=float(TINY)).log(), probabilities
