"""Requests to the engine, their inputs, and their results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.server.observability.stages import RequestTrace, StageSeconds

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
    """The result of one input.

    Args:
        classes: The indices of the best classes, the best first.
        scores: The probabilities of these classes.
        feature_maps: For each requested name, float32 [channels, height, width].
        probabilities: Of all classes, float32 [classes]; a view into its batch's array.
        seconds: How long each stage took.
        logits: Of all classes, float32 [classes], if they were requested.
    """

    classes: Sequence[int]
    scores: Sequence[float]
    feature_maps: Mapping[str, NDArray[np.float32]]
    probabilities: NDArray[np.float32]
    seconds: StageSeconds
    logits: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What is computed for each input, and when.

    Args:
        top_k: How many classes, the best first.
        feature_maps: The names of the feature maps.
        deadline: The `loop.time()` after which nothing may start.
        bulk: Whether all interactive requests run first.
        untracked: Whether its results are left out of the metrics and of the
            version's last use, as for a copy that a shadow receives.
        logits: Whether the logits of all classes are returned.
        trace: Follows the request's stages, if it is traced.
    """

    top_k: int = 0
    feature_maps: tuple[str, ...] = ()
    deadline: float | None = None
    bulk: bool = False
    untracked: bool = False
    logits: bool = False
    trace: RequestTrace | None = None
