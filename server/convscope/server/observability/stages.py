"""How long each stage of an input took, and the trace that follows a request through the stages."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Attributes", "RequestTrace", "StageSeconds"]

# What a span states, such as {"images": 3}.
Attributes = Mapping[str, str | int]


@dataclass(slots=True)
class StageSeconds:
    """How long one input spent in each stage.

    Args:
        decode: Seconds until it had the shape of the graph's input.
        queue: Seconds that it waited, for a decoder and for a runner.
        infer: Seconds of the run that it was part of.
        decode_began: The `time.perf_counter()` at which decoding began; 0 if it wasn't decoded.
    """

    decode: float = 0.0
    queue: float = 0.0
    infer: float = 0.0
    decode_began: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all stages."""
        return self.decode + self.queue + self.infer


class RequestTrace(Protocol):
    """Follows one request through the stages; the engine knows no more of traces than this."""

    def enter(self, seconds: Sequence[StageSeconds], attributes: Attributes) -> None:
        """Called when the request enters the stages.

        Args:
            seconds: The times that the stages fill in.
            attributes: What its spans state beside the model and the number of images.
        """

    def wait_for_session(self, session: str) -> None:
        """Called when the request begins to wait for a session that is opened on first use."""

    def session_opened(self) -> None:
        """Called when it no longer waits for the session."""

    def batch(
        self,
        requests: "Sequence[RequestTrace]",
        *,
        images: int,
        size: int,
        attributes: Attributes,
    ) -> AbstractContextManager[None]:
        """Trace the run of a batch, in any thread.

        Args:
            requests: The traced requests of the batch, this one among them.
            images: The size of the batch.
            size: The number of requests in it, traced or not.
            attributes: What else its span states.
        """

    def end(self, error: BaseException | None, *, has_results: bool, encode: float | None) -> None:
        """Called when the request is completed.

        Args:
            error: Why it failed; None if it was answered.
            has_results: Whether all stages up to the run took place.
            encode: The seconds that encoding its reply took, just before; None if it has none.
        """
