"""Which tensors of a PyTorch network every path from its input to its output crosses."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.exporter.graphs.dataflow import crossed

__all__ = ["TensorKey", "crossed_tensors", "key_of"]

Node = Any
"""An operation in PyTorch's record for the gradient."""
TensorKey = tuple[Node, int]
"""The operation that computes a tensor, and the tensor's position in its outputs."""


def key_of(tensor: Tensor) -> TensorKey:
    """Return what identifies a tensor, even if it is overwritten later."""
    return tensor.grad_fn, tensor.output_nr


def crossed_tensors(network: nn.Module, example: Tensor) -> set[TensorKey]:
    """Run an example, and return the tensors that every path crosses.

    Args:
        network: The network in evaluation mode. Its hooks run too.
        example: An input with its batch.
    """
    # Only the record of the operations is read, so that the tensors in it can be dropped.
    dropped = torch.autograd.graph.saved_tensors_hooks(lambda tensor: None, lambda saved: saved)
    with torch.enable_grad(), dropped:
        start = example.detach().clone().requires_grad_().clone()
        ends = [key_of(one) for one in _tensors(network(start)) if one.grad_fn is not None]
    nodes = list(_in_order([node for node, _ in ends]))
    reached = {start.grad_fn}
    for node in nodes:
        if any(before in reached for before, _ in node.next_functions):
            reached.add(node)
    nodes = [node for node in nodes if node in reached]
    read = [{key for key in node.next_functions if key[0] in reached} for node in nodes]
    computed: dict[Node, set[TensorKey]] = {node: set() for node in nodes}
    for key in (key for keys in (*read, ends) for key in keys):
        if key[0] in computed:
            computed[key[0]].add(key)
    steps = [(computed[node], keys) for node, keys in zip(nodes, read, strict=True)]
    return set(crossed(steps, ends))


def _in_order(ends: Sequence[Node]) -> Iterator[Node]:
    """Yield the operations before some others, and these, in topological order."""
    seen: set[Node] = set()
    pending = [(node, False) for node in ends]
    while pending:
        node, is_complete = pending.pop()
        if is_complete:
            yield node
        elif node not in seen:
            seen.add(node)
            pending.append((node, True))
            pending.extend((before, False) for before, _ in node.next_functions if before)


def _tensors(output: object) -> Iterator[Tensor]:
    """Yield the tensors in whatever a network returns."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for one in output.values():
            yield from _tensors(one)
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for one in output:
            yield from _tensors(one)
    elif is_dataclass(output):
        for field in fields(output):
            yield from _tensors(getattr(output, field.name))
