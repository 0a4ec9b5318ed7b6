"""Inputs that aren't images: signals and clips, used as they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.errors import ExporterError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["TensorInput"]

_NAMES = {2: "signal", 4: "clip"}


@dataclass(frozen=True, slots=True)
class TensorInput:
    """The float32 tensor that a network for signals or clips expects.

    Args:
        shape: [channels, length] of a signal, or [channels, frames, height,
            width] of a clip.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) not in _NAMES or min(self.shape) < 1:
            raise ExporterError(
                f"a tensor input is [channels, length] or [channels, frames, height, width], "
                f"not {list(self.shape)}"
            )

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self.shape[0]

    @property
    def mean(self) -> tuple[float, ...]:
        """Empty, because tensors aren't normalized."""
        return ()

    @property
    def std(self) -> tuple[float, ...]:
        """Empty, because tensors aren't normalized."""
        return ()

    def prepare(self, encoded: bytes) -> NDArray[np.uint8]:
        """Reject an encoded image.

        Raises:
            ExporterError: Always; an image can't become this tensor.
        """
        raise ExporterError(
            f"the network takes tensors of the shape {list(self.shape)} and no images; "
            "pass arrays with --dataset npz:FILE"
        )

    def input_spec(self) -> pb.InputSpec:
        """Return the manifest's description of the graph's input."""
        return pb.InputSpec(
            name=_NAMES[len(self.shape)],
            kind=pb.INPUT_KIND_TENSOR,
            dtype=pb.DATA_TYPE_FLOAT32,
            shape=self.shape,
        )
