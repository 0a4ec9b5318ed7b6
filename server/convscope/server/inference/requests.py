"""What goes through the engine: inputs, what is wanted of them, and answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convscope.server.observability.stages import StageSeconds

if TYPE_CHECKING:  # at run time, only when traces are wanted
    from convscope.server.observability.tracing import RequestTrace

__all__ = [
    "EncodedImage",
    "InferenceRequest",
    "InferenceResult",
    "Input",
    "Pixels",
    "ReadyTensor",
]


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """The bytes of an image file."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pixels:
    """A decoded image of any size, uint8 [height, width, channels]."""

    array: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ReadyTensor:
    """The graph's input without its batch dimension."""

    array: NDArray[np.generic]


Input = EncodedImage | Pixels | ReadyTensor


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """What a model says of one input.

    Args:
        classes: The indices of the best classes, the best first.
        scores: Their probabilities.
        feature_maps: For each wanted name, float32 [channels, height, width].
        probabilities: Those of all classes, float32 [classes]; a view of its batch's.
        seconds: How long each stage took.
        logits: Those of all classes, float32 [classes], if they were wanted.
    """

    classes: Sequence[int]
    scores: Sequence[float]
    feature_maps: Mapping[str, NDArray[np.float32]]
    probabilities: NDArray[np.float32]
    seconds: StageSeconds
    logits: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What is wanted of each input.

    Args:
        top_k: How many classes, the best first.
        feature_maps: The names of the feature maps.
        deadline: The `loop.time()` after which nothing must start.
        bulk: Whether it may wait until nothing else does.
        aside: Whether nobody is answered: then it counts neither as an answer nor
            as a use of the version.
        logits: Whether the logits of all classes are wanted.
        trace: Hears of the request's stages, if it is traced.
    """

    top_k: int = 0
    feature_maps: tuple[str, ...] = ()
    deadline: float | None = None
    bulk: bool = False
    aside: bool = False
    logits: bool = False
    trace: "RequestTrace | None" = None
