"""Imported once in the process from which commands of the exporter are forked.

The first export of a process takes seconds longer than the next one: PyTorch imports the
exporter to ONNX, and builds its tables of operators and decompositions.
"""

import gc

import torch
from torch import nn

from support.allocation import keep_freed_memory
from support.operators import share_operators


def _export_once() -> None:
    """Export a small network, in one thread: a forked process can't use the threads of another."""
    from convscope.exporter.conversion.graph import ServableNetwork, export_graph

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    layers = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    network = ServableNetwork(layers, (0.5,), (0.5,), {})
    export_graph(network, torch.zeros(1, 4, 4, 1, dtype=torch.uint8))
    torch.set_num_threads(threads)


keep_freed_memory()
share_operators()
_export_once()
gc.collect()
gc.freeze()  # otherwise the collections of each forked process would copy all of it
