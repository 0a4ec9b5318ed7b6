"""Requests on the data path, their inputs, and their results.

A request is a plain object that a frontend makes. It passes the stages without a
task or a future of its own, and is completed exactly once, on the event loop.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import ServingError
from convscope.server.inference.explanations import ExplanationPlan, Occluded
from convscope.server.observability.calls import CallRecord
from convscope.server.observability.stages import RequestTrace, StageSeconds
from convscope.server.repository.catalog import Target
from convscope.server.runtime.model import ModelOutput
from convscope.server.runtime.versions import Crop, LoadedVersion

if TYPE_CHECKING:
    from convscope.server.inference.pipeline import Pipeline

__all__ = [
    "EncodedImage",
    "Endpoint",
    "InferenceRequest",
    "InferenceResult",
    "Input",
    "Outcome",
    "Pixels",
    "ReadyTensor",
]

Floats = NDArray[np.float32]


class EncodedImage(NamedTuple):
    """The bytes of an image file."""

    data: bytes | memoryview


class Pixels(NamedTuple):
    """A decoded image of any size, uint8 [height, width, channels]."""

    array: NDArray[np.uint8]


class ReadyTensor(NamedTuple):
    """The graph's input without its batch dimension."""

    array: NDArray[np.generic]


Input = EncodedImage | Pixels | ReadyTensor


@dataclass(slots=True, eq=False)
class InferenceResult:
    """The result of one input: a row of the arrays of its batch.

    Args:
        classes: The indices of the best classes, the best first.
        scores: The probabilities of these classes.
        entropy_ratio: How undecided the input is, 0 to 1; None if its
            probabilities have another sum than 1.
        output: The arrays of the batch.
        row: Its row in them.
        seconds: How long each stage took.
    """

    classes: Sequence[int]
    scores: Sequence[float]
    entropy_ratio: float | None
    output: ModelOutput
    row: int
    seconds: StageSeconds

    @property
    def probabilities(self) -> Floats:
        """The probabilities of all classes, float32 [classes]; a view."""
        row: Floats = self.output.probabilities[self.row]
        return row

    def feature_map(self, name: str) -> Floats:
        """Return a requested feature map, float32 [channels, height, width]; a view."""
        row: Floats = self.output.feature_maps[name][self.row]
        return row


# The serialized reply, or the error of the request.
Outcome = bytes | BaseException


class Endpoint(Protocol):
    """Converts the messages of a protocol to requests, and results to replies."""

    def prepare(self, request: "InferenceRequest") -> None:
        """Check a request against its version, and set its inputs; called on the event loop.

        Raises:
            ServingError: The request is invalid.
        """

    def encode(self, request: "InferenceRequest") -> bytes:
        """Serialize the reply to a request that has its results; called in any thread.

        It sets `encode_seconds`.

        Raises:
            ServingError: The request has no reply, because inputs failed.
        """


Finish = Callable[[Sequence["InferenceRequest"]], None]


@dataclass(slots=True, eq=False)
class InferenceRequest:
    """One request, from its arrival to its completion.

    The frontend sets what it asks for. `prepare` of its endpoint sets the inputs and
    what is computed for each of them. The stages set the rest.

    Args:
        endpoint: Converts its message and its results.
        record: The call that it belongs to.
        finish: Called on the event loop with requests that were completed at the
            same time, and that have this same function.
        message: The message of the frontend.
        target: The model and version that it names.
        deadline: The `loop.time()` after which nothing may start.
        bulk: Whether all interactive requests run first.
        untracked: Whether its results are left out of the metrics and of the
            version's last use, as for a copy that a shadow receives.
        place: Where the frontend sends the reply.
    """

    endpoint: Endpoint
    record: CallRecord
    finish: Finish
    message: Any = None
    target: Target | None = None
    deadline: float | None = field(default=None, kw_only=True)
    bulk: bool = field(default=False, kw_only=True)
    untracked: bool = field(default=False, kw_only=True)
    place: Any = field(default=None, kw_only=True)
    # The list of waiting requests that it is in, if it waits for a load.
    parked: "list[InferenceRequest] | None" = field(default=None, init=False)

    # What `prepare` sets.
    inputs: Sequence[Input | ServingError] = field(default=(), init=False)
    top_k: int = field(default=0, init=False)
    feature_maps: tuple[str, ...] = field(default=(), init=False)
    explanation: ExplanationPlan | None = field(default=None, init=False)
    logits: bool = field(default=False, init=False)
    # By the index of an input, the part of its image that the network sees; None if the
    # reply doesn't state it.
    crops: dict[int, Crop] | None = field(default=None, init=False)
    is_large: bool = field(default=False, init=False)  # whether its reply takes long to encode
    plan: Any = field(default=None, init=False)

    # What the stages set.
    version: LoadedVersion | None = field(default=None, init=False)
    pipeline: "Pipeline | None" = field(default=None, init=False)
    trace: RequestTrace | None = field(default=None, init=False)
    # The `perf_counter()` at which its version was known.
    started_at: float = field(default=0.0, init=False)
    admitted_at: float = field(default=0.0, init=False)
    # Of its seconds; None without a deadline.
    estimate: float | None = field(default=None, init=False)
    # For each input the graph's input without its batch dimension, contiguous, or its error.
    prepared: list[NDArray[np.generic] | Occluded | ServingError | None] = field(
        default_factory=list, init=False
    )
    pending: int = field(default=0, init=False)  # images to decode, then parts to run
    partial: list[Any] | None = field(default=None, init=False)  # results of some of several parts
    seconds: Sequence[StageSeconds] = field(default=(), init=False)
    results: Sequence[InferenceResult | ServingError] = field(default=(), init=False)
    encode_seconds: Sequence[float] = field(default=(), init=False)

    # The end, set once, on the event loop.
    done: bool = field(default=False, init=False)
    reply: bytes = field(default=b"", init=False)
    error: BaseException | None = field(default=None, init=False)

    @property
    def loaded(self) -> LoadedVersion:
        """The version that serves it, once that is known."""
        if self.version is None:
            raise LookupError("the request has no version yet")
        return self.version
