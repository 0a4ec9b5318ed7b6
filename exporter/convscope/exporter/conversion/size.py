"""Checks early that a network fits into a bundle."""

from torch import nn

from convscope.bundle.layout import MAX_FILE_BYTES
from convscope.exporter.errors import NetworkError

__all__ = ["check_size"]


def check_size(network: nn.Module) -> None:
    """Check the size of a network's weights.

    Raises:
        NetworkError: They are larger than a bundle's graph may be.
    """
    tensors = [*network.parameters(), *network.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > MAX_FILE_BYTES:
        raise NetworkError(
            f"the network has {size / 2**30:.1f} GiB of weights; a bundle's graph is one ONNX file "
            f"of at most {MAX_FILE_BYTES / 2**30:g} GiB, so use a smaller variant of the network"
        )
